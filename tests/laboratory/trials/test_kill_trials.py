"""A kill trial that compares too little would call everything equal."""

import sys

import pytest
import torch

from bundle.engines.stages import Stage
from bundle.laboratory.trials.kill_trials import (
    Moment,
    Trial,
    curve_difference,
    format_trial,
    loss_curve,
    run_and_kill,
    weight_difference,
)


class Sleep(Stage):
    """A command that takes 30 seconds."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", "import time; time.sleep(30)"]


def test_curves_differ_by_their_worst_step_and_by_any_of_a_repeated_steps_losses():
    expected = {1: {0.5}, 2: {0.25}}
    assert curve_difference(expected, {1: {0.5}, 2: {0.25}}) == 0
    assert curve_difference(expected, {1: {0.5, 0.75}, 2: {0.25}}) == 0.25


@pytest.mark.parametrize("curve", [{}, {1: {0.5}}, {1: {0.5}, 2: {0.25}, 3: {0.1}}])
def test_a_curve_with_other_steps_is_infinitely_different(curve):
    assert curve_difference({1: {0.5}, 2: {0.25}}, curve) == float("inf")


def test_weights_differ_by_the_worst_of_all_files(tmp_path):
    for name, value in (("a", 1.0), ("b", 1.5)):
        (tmp_path / name).mkdir()
        torch.save({"w": torch.tensor([0.0, value])}, tmp_path / name / "student.pt")
    assert weight_difference(tmp_path / "a", tmp_path / "a") == 0
    assert weight_difference(tmp_path / "a", tmp_path / "b") == 0.5
    assert weight_difference(tmp_path / "a", tmp_path / "not there") == float("inf")
    assert weight_difference(tmp_path / "not there", tmp_path / "a") == float("inf")


def test_a_run_that_never_logged_has_no_curve(tmp_path):
    assert loss_curve(tmp_path) == {}


def test_a_run_is_killed_at_its_moment(tmp_path):
    stage = Sleep("sleep", [], {"output_dir": str(tmp_path)})
    assert run_and_kill(stage, Moment(checkpoints=0, seconds=0.2), tmp_path / "last.pt")


def test_a_trials_line_says_when_and_how_equal():
    trial = Trial("phase 1, 2 workers", "0.5 s after checkpoint 3", "24 steps", is_equal=True)
    assert format_trial(trial) == "phase 1, 2 workers, killed 0.5 s after checkpoint 3: equal over 24 steps"
    done = Trial("int8", None, "52 entries", is_equal=False)
    assert format_trial(done) == "int8, was done before it could be killed: DIFFERENT over 52 entries"
