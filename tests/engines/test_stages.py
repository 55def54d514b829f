"""Workflows run the stages as a user would, and stop where one fails."""

import json
import subprocess
from pathlib import Path

import pytest

from bundle.command.demo import demo_stages, format_summary
from bundle.engines import stages
from bundle.engines.preflight import check_command
from bundle.engines.stages import Stage, run_stages
from bundle.laboratory.experiments.baseline import BASELINES, baseline_stages, format_baselines

SUMMARY = {
    "dice": {"hyoid": 0.5, "c2": None},
    "hd95": {"hyoid": 2.0, "c2": None},
    "unit": "mm",
    "mean_dice": 0.5,
    "seconds": 90.0,
    "peak_memory_gb": 2.0,
    "pictures": ["a.png"],
    "videos": ["b.mp4"],
    "reports": ["r.html"],
    "models": ["model.pt"],
}


def all_stages(folder: Path) -> list[Stage]:
    baselines = [baseline_stages(name, file, folder, folder / name, 60.0) for name, file in BASELINES.items()]
    return demo_stages(folder) + [stage for group in baselines for stage in group]


def test_every_stage_sets_only_keys_that_its_configs_have(tmp_path):
    checked = 0
    for stage in all_stages(tmp_path):
        if stage.verb == "run":
            check_command(stage.command()[2:])
            checked += 1
    assert checked == 8


def test_a_failing_stage_ends_the_workflow_with_its_status(monkeypatch):
    calls = []

    def run(command, **_kwargs):
        calls.append(command)
        return subprocess.CompletedProcess(command, returncode=3 if len(calls) == 2 else 0)

    monkeypatch.setattr(stages.subprocess, "run", run)
    with pytest.raises(SystemExit) as error:
        run_stages([Stage("one", ["train.json"]), Stage("two", ["train.json"]), Stage("three", ["train.json"])])
    assert error.value.code == 3
    assert len(calls) == 2


def test_the_summary_names_every_structure_and_file():
    text = format_summary(SUMMARY)
    assert "synthetic" in text
    for word in ("hyoid", "0.500", "2.00", "mm", "a.png", "b.mp4", "model.pt", "1.5 minutes"):
        assert word in text


def test_models_stand_side_by_side():
    models = {"x": {"mean_dice": 0.5, "dice": {"c2": 0.25}}, "y": {"mean_dice": 0.75, "dice": {"c2": 0.125}}}
    text = format_baselines({"seconds": 60, "models": models})
    assert all(word in text for word in ("x", "y", "0.250", "0.125", "0.500", "0.750"))
    json.dumps(models)
