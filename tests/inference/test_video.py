"""The overlay film: every frame, the right speed, honest words about it."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from bundle.inference.overlay import OverlayPainter, frame_rate, write_overlay_video
from bundle.inference.study import SegmentedStudy
from bundle.metrics.cropped import cropped
from tests.inference.conftest import STRUCTURES, make_clip


def test_the_film_has_every_frame_as_it_was_drawn(tmp_path, study, clip, masks):
    path = tmp_path / "overlay.mp4"
    write_overlay_video(study, path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 25  # 40 ms
    assert len(frames) == 4
    painter = OverlayPainter(clip, STRUCTURES)
    for index, frame in enumerate(frames):
        assert frame.shape[:2] == painter.size
        drawn = painter.draw(index, cropped(masks, index)).mean(axis=-1)
        assert np.abs(frame.mean(axis=-1) - drawn).mean() < 6  # of 255: lossy, color at half resolution


def test_oblong_pixels_are_drawn_square_so_that_every_player_shows_the_true_shape(tmp_path):
    clip = make_clip(rows=480, columns=720, pixel_aspect=9 / 8)
    masks = np.zeros((4, 3, 480, 720), bool)
    path = tmp_path / "overlay.mp4"
    write_overlay_video(SegmentedStudy(masks, clip, STRUCTURES), path)
    painter = OverlayPainter(clip, STRUCTURES)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == 1
        assert (stream.height, stream.width) == painter.size
    assert painter.width / painter.height == pytest.approx(4 / 3, abs=0.01)


def test_without_times_the_rate_is_stated_to_be_ours(tmp_path, masks):
    clip = make_clip(frame_times_ms=None)
    write_overlay_video(SegmentedStudy(masks, clip, STRUCTURES), tmp_path / "overlay.mp4")
    content = json.loads((tmp_path / "overlay.json").read_text())
    assert content["frames_per_second"] == 12
    assert content["frame_rate_basis"].startswith("display only")
    assert content["num_frames"] == 4


def test_the_rate_is_the_sources(masks):
    study = SegmentedStudy(masks, make_clip(frame_times_ms=np.arange(4) * 1001 / 30), STRUCTURES)
    assert frame_rate(study)[0] == Fraction(30000, 1001)


def test_irregular_times_are_said_to_be_so(masks):
    clip = make_clip(frame_times_ms=np.array([0.0, 40.0, 200.0, 240.0]))
    rate, basis = frame_rate(SegmentedStudy(masks, clip, STRUCTURES))
    assert rate == Fraction(25, 2)  # 3 intervals in 240 ms
    assert "irregular" in basis


def test_an_interrupted_film_leaves_nothing(tmp_path, study, monkeypatch):
    def interrupt(self: OverlayPainter, index: int, frame_masks: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(OverlayPainter, "draw", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_overlay_video(study, tmp_path / "overlay.mp4")
    assert list(tmp_path.iterdir()) == []
