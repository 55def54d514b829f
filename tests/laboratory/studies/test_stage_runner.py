"""Stages that are done, stopped, killed or broken: what is run again, and which time is known."""

import json
import os
from pathlib import Path

import pytest

from bundle.engines.stop_request import EXIT_STATUS
from bundle.laboratory.studies import stage_runner
from bundle.laboratory.studies.plan import PlannedStage
from bundle.laboratory.studies.stage_runner import StageRunner, Stopped, minutes


class Process:
    """Stands for the processes: every command gives the next status and takes 90 seconds."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)

    def run(self, _command, _folder, log, _environment):
        log.write_text("first\nlast words\n")
        status = self.statuses.pop(0)
        if isinstance(status, type):
            raise status
        return status, 90.0


@pytest.fixture
def stage(tmp_path):
    return PlannedStage(tmp_path / "train-1", ("train.json",), {"epochs": 1}, "digest")


def runner_of(*statuses):
    runner = StageRunner()
    runner._processes = Process(*statuses)
    return runner


def test_what_is_done_is_not_run_again(stage):
    runner = runner_of(0, 0)
    for _ in range(2):
        runner.train(stage)
        runner.evaluate(stage, ["test"])
    assert minutes(stage.folder) == minutes(stage.folder / "test") == 1.5


def test_a_store_is_filled_again_for_films_that_were_copied_anew_and_that_time_is_not_the_teachers(stage, tmp_path):
    film, sections = tmp_path / "film.png", {name: [] for name in ("training", "validation", "test")}
    film.write_bytes(b"film")
    sections["training"] = [{"image": "film.png", "patient": "a"}]
    datalist = tmp_path / "films.json"
    datalist.write_text(json.dumps({"name": "films", "structures": ["lung"], "synthetic": False, **sections}))
    stage.keys["datalist"] = str(datalist)
    runner = runner_of(0, 1, 0)
    runner.fill(stage)
    runner.fill(stage)
    os.utime(film, ns=(1, 1))
    with pytest.raises(RuntimeError, match="features ended with status 1"):
        runner.fill(stage)
    runner.fill(stage)
    runner.fill(stage)
    assert runner._processes.statuses == []
    assert minutes(stage.folder / "features") == 1.5


def test_a_training_that_was_stopped_goes_on_and_its_times_add_up(stage):
    with pytest.raises(Stopped):
        runner_of(EXIT_STATUS).train(stage)
    assert minutes(stage.folder) is None
    runner_of(0).train(stage)
    assert minutes(stage.folder) == 3.0


def test_of_a_training_that_was_killed_no_time_is_known(stage):
    with pytest.raises(KeyboardInterrupt):
        runner_of(KeyboardInterrupt).train(stage)
    runner_of(0).train(stage)
    assert minutes(stage.folder) is None


def test_a_failure_has_the_last_words_and_is_tried_again(stage):
    with pytest.raises(RuntimeError, match=r"train-1 ended with status 1: last words \(all in .*log.txt\)"):
        runner_of(1).train(stage)
    runner_of(0).train(stage)
    assert minutes(stage.folder) == 3.0


def test_only_trainings_are_told_to_stop(stage):
    runner = StageRunner()
    told: list[Path] = []

    class Stopping(Process):
        def run(self, *given):
            runner.stop()
            told.extend(stage.folder.rglob("stop"))
            return super().run(*given)

    runner._processes = Stopping(0, 0)
    runner.train(stage)
    assert told == [stage.folder / "stop"]
    told[0].unlink()
    runner.evaluate(stage, ["test"])
    assert told == [stage.folder / "stop"]


def test_a_config_that_changes_under_a_running_study_stops_it(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_runner, "ROOT", tmp_path)
    config = tmp_path / "configs" / "train.json"
    config.parent.mkdir()
    config.write_text('{"epochs": 1}')
    runner = runner_of(0)
    config.write_text('{"epochs": 1, "_desc_": "another word"}')
    runner.evaluate(stage, ["evaluated"])
    config.write_text('{"epochs": 2}')
    with pytest.raises(RuntimeError, match=r"train\.json changed since the study was started: start it again"):
        runner.train(stage)
