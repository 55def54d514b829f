"""The end-to-end benchmark runs the command itself; its figures are differences between a long and a short film."""

import subprocess
import sys

import pytest

from bundle.laboratory.benchmarks import end_to_end
from bundle.laboratory.benchmarks.end_to_end import CommandTime, EndToEndSetting, measure_end_to_end


def test_the_speed_is_that_of_the_frames_that_the_long_film_has_more(monkeypatch):
    def run(film, folder, outputs):
        seconds = 0.02 if tuple(outputs) == end_to_end.WAYS["preset"] else 0.04
        num_frames = int(film.stem)
        return CommandTime(first_frame=4.0, whole=7.0 + seconds * num_frames, processor=9.0 + 0.03 * num_frames)

    monkeypatch.setattr(end_to_end, "_run", run)
    preset, every = measure_end_to_end(EndToEndSetting(size=32, num_frames=(2, 12), rounds=2))
    assert preset["frames/s"] == pytest.approx(50)
    assert every["frames/s"] == pytest.approx(25)
    assert every["to the preset"] == pytest.approx(0.5)
    assert preset["processor, ms/frame"] == pytest.approx(30)
    assert preset["cores busy"] == pytest.approx(1.5)
    assert preset["start to first frame, s"] == 4.0


def test_the_first_frames_are_segmented_when_a_second_chunk_has_been_read():
    lines = [
        r"studies:   0%|  | 0/1 [00:00<?]",
        r"segment:   0%|  | 8/60 [00:00<?]",
        r"segment:  20%|  | 16/60 [00:01<?]",
    ]
    program = f"import sys, time\nfor line in {lines}:\n    time.sleep(0.3); print(line, end='\\r', flush=True)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        first, words = end_to_end._watch(process, 0.0)
    assert b"16/60" in words
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        start = end_to_end.time.perf_counter()
        first, _ = end_to_end._watch(process, start)
        whole = end_to_end.time.perf_counter() - start
    assert 0.8 < first <= whole
