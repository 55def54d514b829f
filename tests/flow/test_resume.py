"""Whole phases that are killed or stopped, and given again, end as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from monai.bundle import ConfigWorkflow

from bundle.engines.stages import Stage
from bundle.engines.tracking import prepare_tracking, sqlite_uri
from bundle.laboratory.trials.kill_trials import curve_difference, weight_difference
from bundle.paths import ROOT

pytestmark = pytest.mark.slow

SMALL = {"datalist::num_frames": 4, "epochs": 2, "checkpoint_every": "1 steps", "device": "$torch.device('cpu')"}
STEPS = 8


class Phase:
    """One phase on the smoke configuration, each run in a folder and an MLflow experiment of its own."""

    def __init__(self, folder: Path, *names: str, **overrides) -> None:
        self.folder, self.names = folder, [f"{name}.json" for name in names]
        self.tracking_uri = prepare_tracking(sqlite_uri(folder / "mlruns.db"), "Default")
        self.overrides = {**SMALL, "dataset_dir": str(folder / "phantom"), **overrides}

    def stage(self, name: str) -> Stage:
        own = {"output_dir": str(self.folder / name), "tracking_uri": self.tracking_uri, "experiment_name": name}
        return Stage(name, self.names, {**self.overrides, **own})

    def run(self, name: str) -> None:
        stage = self.stage(name)
        workflow = ConfigWorkflow(
            config_file=[str(ROOT / "configs" / file) for file in stage.configs],
            meta_file=str(ROOT / "configs" / "metadata.json"),
            logging_file=False,
            run_id="training",
            workflow_type="train",
            bundle_root=str(ROOT),
            **stage.overrides,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()

    def curve(self, name: str) -> dict[int, set[float]]:
        client = MlflowClient(self.tracking_uri)
        experiment = client.get_experiment_by_name(name)
        (run,) = client.search_runs([experiment.experiment_id])  # a resumed run is the same run
        assert run.info.status == "FINISHED"
        curve: dict[int, set[float]] = {}
        for entry in client.get_metric_history(run.info.run_id, "loss"):
            curve.setdefault(entry.step, set()).add(entry.value)
        return curve

    def assert_equal(self, name: str, other: str) -> None:
        assert set(self.curve(name)) == set(range(1, STEPS + 1))
        assert curve_difference(self.curve(name), self.curve(other)) <= 1e-6
        assert weight_difference(self.folder / name, self.folder / other) <= 1e-6


@pytest.fixture(autouse=True)
def _root_on_path(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


def test_phase_1_killed_with_signal_9_resumes_to_the_same_end(tmp_path):
    phase = Phase(tmp_path, "distill", "smoke")
    phase.run("in peace")
    process = subprocess.Popen(
        phase.stage("killed").command(),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (tmp_path / "killed" / "checkpoints" / "last.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(random.uniform(0, 1))
    assert process.poll() is None, "it was done before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "student.pt").exists()
    phase.run("killed")
    phase.assert_equal("in peace", "killed")


def test_phase_2_with_every_option_stopped_by_a_file_resumes_to_the_same_end(tmp_path):
    options = {"training_precision": "bfloat16", "accumulation_steps": 2, "ema_decay": 0.9}
    phase = Phase(tmp_path, "train", "no_distillation", "smoke", **options)
    phase.run("in peace")
    (tmp_path / "stopped").mkdir()
    for _ in range(2):
        (tmp_path / "stopped" / "stop").touch()
        with pytest.raises(SystemExit) as caught:
            phase.run("stopped")
        assert caught.value.code == 75
    phase.run("stopped")
    phase.assert_equal("in peace", "stopped")
    saved = torch.load(tmp_path / "stopped" / "model.pt")
    trained = torch.load(tmp_path / "stopped" / "checkpoints" / "last.pt")
    name = next(iter(saved))
    assert torch.equal(saved[name], trained["average"][name])
    assert not torch.equal(saved[name], trained["network"][f"segmenter.{name}"])
