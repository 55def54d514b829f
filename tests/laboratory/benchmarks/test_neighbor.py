"""The benchmark beside a busy process: every work runs, the ways take turns, and no process is left behind."""

import subprocess

import psutil
import pytest

from bundle.laboratory.benchmarks import neighbor as benchmark_neighbor
from bundle.laboratory.benchmarks.neighbor import LATE, OWN, SET, TRAINING, NeighborSetting, measure_neighbor


def test_rates_are_those_of_the_turns_and_ratios_those_of_a_round(monkeypatch):
    rates = {OWN: [10.0, 20.0, 30.0, 1.0, 2.0, 3.0], SET: [9.0, 18.0, 27.0, 5.0, 10.0, 15.0], LATE: [8.0] * 6}
    spin_counts = {count: way for way, count in benchmark_neighbor.WAYS_OF_TRAINING.items()}

    class Turn:
        def __init__(self, spin_count, *_):
            self.rates = iter(rates[spin_counts[spin_count]])

        def __enter__(self):
            return lambda: next(self.rates)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(benchmark_neighbor, "_process", Turn)
    own, brief, _ = measure_neighbor(NeighborSetting(rounds=3, works=(TRAINING,)))
    assert own["to libgomp's own"] == 1
    assert (brief["alone, frames/s"], brief["to libgomp's own"]) == (18.0, pytest.approx(0.9))
    assert (brief["beside a busy process, frames/s"], brief["to libgomp's own, beside"]) == (10.0, pytest.approx(5.0))
    assert not any("while True" in " ".join(child.cmdline()) for child in psutil.Process().children())


def test_a_measured_process_answers_and_ends(monkeypatch):
    started = []
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **options: started.append(start(*args, **options)) or started[0]
    )
    setting = NeighborSetting(seconds=0.01, image_size=32, batch_size=4)
    with benchmark_neighbor._process("1000", TRAINING, setting, "") as turn:
        assert turn() > 0
    assert started[0].returncode == 0


def test_inference_is_the_shipped_model_on_one_frame(tmp_path):
    step, num_frames = benchmark_neighbor._prepare("inference, torch", str(tmp_path), 0, 0)
    assert step().shape[0] == num_frames == 1
