"""The streaming benchmark on a short film: every stage is timed, memory is sampled, and the curve is kept."""

import json

import av
import pytest
import torch
from torch import nn

from bundle.laboratory.benchmarks.streaming import measure_streaming, streaming_rows, time_parts, write_film

SIZE, NUM_FRAMES = 64, 240


class TwelveThresholds(nn.Module):
    """Structure k is what is brighter than k / 12, on a grid of a quarter of the size."""

    def coarse(self, frames: torch.Tensor) -> torch.Tensor:
        limits = (torch.arange(12) / 12).view(1, 12, 1, 1)
        return 20 * (nn.functional.avg_pool2d(frames, 4) - limits)


def test_a_film_has_as_many_frames_as_asked_for_and_each_can_be_decoded(tmp_path):
    with av.open(str(write_film(tmp_path / "film.mp4", 150, SIZE))) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 150
    assert [frame.pts for frame in frames] == sorted(frame.pts for frame in frames)
    assert (frames[3].to_ndarray() == frames[63].to_ndarray()).all()


def test_stages_are_timed_and_memory_is_sampled_on_the_way(tmp_path):
    report = measure_streaming(
        TwelveThresholds(),
        SIZE,
        tmp_path,
        NUM_FRAMES,
        SIZE,
        outputs=("areas", "measures"),
        sample_every=60,
        curve_path=tmp_path / "memory.json",
    )
    assert list(report.seconds) == ["segment", "areas", "measures"]
    assert [sample.frames for sample in report.samples if sample.stage == "segment"] == [0, 64, 120, 184, 240, 240]
    assert all(0 < sample.resident_mb <= sample.peak_mb for sample in report.samples)
    rows = report.rows()
    assert [row["stage"] for row in rows] == ["segment", "areas", "measures"]
    assert rows[0]["ms per frame"] == pytest.approx(1000 / rows[0]["frames/s"])
    curve = json.loads((tmp_path / "memory.json").read_text())
    assert (curve["num_frames"], len(curve["samples"])) == (NUM_FRAMES, len(report.samples))


def test_each_part_of_the_way_has_its_time(tmp_path):
    milliseconds = time_parts(TwelveThresholds(), SIZE, tmp_path, 16, SIZE)
    assert set(milliseconds) == {
        "decoding",
        "gray values",
        "network",
        "letterbox, masks to the film's grid",
        "masks to disk",
        "pictures to disk",
    }
    assert all(value > 0 for value in milliseconds.values())


def test_the_table_has_the_parts_alone_and_the_film_through_all_of_them(tmp_path):
    rows = streaming_rows(TwelveThresholds(), SIZE, tmp_path, 16, SIZE)
    assert [row["stage"] for row in rows][-5:] == ["segment", "areas", "measures", "nifti", "overlay"]
    assert rows[0]["stage"] == "decoding, alone"
    assert {tuple(row) for row in rows} == {("stage", "ms per frame", "frames/s", "peak memory so far, MiB")}
