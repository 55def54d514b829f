"""Kill training with signal 9 at random moments, give the same command again, and compare with a run left in peace."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from bundle.atomic import write_json
from bundle.engines.stages import Stage
from bundle.engines.tracking import sqlite_uri
from bundle.paths import ROOT

PHASE_1, PHASE_2 = "phase 1", "phase 2"
TOLERANCE = 1e-6
SMALL: dict[str, str | int | float] = {
    "datalist::num_train": 4,
    "datalist::num_frames": 4,
    "epochs": 3,
    "checkpoint_every": "2 steps",
    "device": "$torch.device('cpu')",
}
"""24 steps on the smoke configuration's phantom, a checkpoint after every second one."""
NUM_CHECKPOINTS = 12
MOST_TRIES = 3
"""Runs per kill; more would mean that they are done before they can be killed."""


@dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after the start, or after so many checkpoints.

    Attributes:
        checkpoints: Checkpoints to wait for first.
        seconds: To wait then.
    """

    checkpoints: int
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One killed and resumed run against the uninterrupted one.

    Attributes:
        stage: "phase 1" or "phase 2".
        num_workers: Processes that prepare batches.
        moment: When it was killed; None if it was done before.
        killed_after_step: Last step whose loss was logged before the kill.
        num_steps: Steps of the finished run.
        loss_difference: Largest difference of a step's loss, over all steps, also those done twice.
        weight_difference: Largest difference of a weight at the end.
    """

    stage: str
    num_workers: int
    moment: Moment | None
    killed_after_step: int
    num_steps: int
    loss_difference: float
    weight_difference: float

    @property
    def is_equal(self) -> bool:
        """Whether nothing tells the two runs apart."""
        return max(self.loss_difference, self.weight_difference) <= TOLERANCE


def run_kill_trials(
    output_dir: str | Path, num_trials: int = 20, num_workers: Sequence[int] = (0, 2), seed: int = 0
) -> dict[str, Any]:
    """Trials over both phases in turn, each with each number of workers.

    Args:
        output_dir: A new folder.
        num_trials: How many runs are killed; those that are done before they can be are compared, too.
        num_workers: Loader processes, in turn.
        seed: Of the moments.

    Returns:
        ``num_trials``, ``num_killed`` (others were done before), ``num_equal``, ``largest_loss_difference`` and the
        ``trials``; also in ``kill_trials.json``.

    Raises:
        RuntimeError: If a command fails of itself.
    """
    folder = Path(output_dir).resolve()
    moments = random.Random(seed)
    references = run_references(folder)
    trials: list[Trial] = []
    while (number := len(trials)) < MOST_TRIES * num_trials and _num_killed(trials) < num_trials:
        stage, seconds = references[number % len(references)]
        workers = num_workers[number // len(references) % len(num_workers)]
        if number % 4 < 2:  # anywhere, often before the first step
            moment = Moment(0, moments.uniform(0, 0.8 * seconds))
        else:
            moment = Moment(moments.randint(1, NUM_CHECKPOINTS - 1), moments.uniform(0, 1))
        trials.append(run_trial(stage, folder / f"trial_{number:02d}", moment, workers))
        print(format_trial(trials[-1]), flush=True)  # noqa: T201 - this is the command line
    report = {
        "num_trials": len(trials),
        "num_killed": _num_killed(trials),
        "num_equal": sum(trial.is_equal for trial in trials),
        "largest_loss_difference": max(trial.loss_difference for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }
    write_json(folder / "kill_trials.json", report)
    return report


def _num_killed(trials: Sequence[Trial]) -> int:
    return sum(trial.moment is not None for trial in trials)


def run_references(folder: Path) -> list[tuple[Stage, float]]:
    """Both phases left in peace, and the seconds that each took."""
    data = {**SMALL, "dataset_dir": str(folder / "phantom")}
    distilled = folder / PHASE_1 / "student.pt"
    stages = [
        Stage(PHASE_1, ["distill.json", "smoke.json"], {**data, "output_dir": str(folder / PHASE_1)}),
        Stage(
            PHASE_2,
            ["train.json", "smoke.json"],
            {**data, "output_dir": str(folder / PHASE_2), "student_checkpoint": str(distilled)},
        ),
    ]
    timed = []
    for stage in stages:
        start = time.monotonic()
        run_quietly(stage)
        timed.append((stage, time.monotonic() - start))
    return timed


def run_trial(reference: Stage, folder: Path, moment: Moment, num_workers: int = 0) -> Trial:
    """Kill one run, resume it, and compare it with the reference's folder.

    Args:
        reference: The stage that was left in peace.
        folder: A new folder for the killed run.
        moment: When to kill it.
        num_workers: Processes that prepare batches.

    Raises:
        RuntimeError: If the command fails of itself.
    """
    stage = replace(reference, overrides={**reference.overrides, "output_dir": str(folder), "num_workers": num_workers})
    was_killed = run_and_kill(stage, moment)
    steps_before = max(loss_curve(folder), default=0)
    run_quietly(stage)
    expected, curve = loss_curve(Path(str(reference.overrides["output_dir"]))), loss_curve(folder)
    return Trial(
        stage=stage.title,
        num_workers=num_workers,
        moment=moment if was_killed else None,
        killed_after_step=steps_before,
        num_steps=max(curve),
        loss_difference=curve_difference(expected, curve),
        weight_difference=weight_difference(Path(str(reference.overrides["output_dir"])), folder),
    )


def run_quietly(stage: Stage) -> None:
    """Run a stage to its end.

    Raises:
        RuntimeError: With the end of its output, if it fails.
    """
    done = subprocess.run(
        stage.command(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{stage.title} ended with status {done.returncode}: {done.stdout[-2000:]}")


def run_and_kill(stage: Stage, moment: Moment) -> bool:
    """Start a stage and kill it with all its workers; False if it was done before."""
    last = Path(str(stage.overrides["output_dir"])) / "checkpoints" / "last.pt"
    process = subprocess.Popen(
        stage.command(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    seen: set[int] = set()
    while len(seen) < moment.checkpoints and process.poll() is None:
        with suppress(FileNotFoundError):  # also for the moment in which it becomes previous.pt
            seen.add(last.stat().st_mtime_ns)
        time.sleep(0.01)
    try:
        process.wait(timeout=moment.seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def loss_curve(folder: Path) -> dict[int, set[float]]:
    """The losses of a run by step, from its MLflow file; a step that was done twice may have two."""
    file = folder / "mlruns.db"
    curve: dict[int, set[float]] = {}
    if not file.is_file():
        return curve
    client = MlflowClient(sqlite_uri(file))
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    for run in runs:
        for entry in client.get_metric_history(run.info.run_id, "loss"):
            curve.setdefault(entry.step, set()).add(entry.value)
    return curve


def curve_difference(expected: Mapping[int, set[float]], curve: Mapping[int, set[float]]) -> float:
    """Largest difference of a step's losses; infinite if the two do not have the same steps."""
    if set(expected) != set(curve) or not curve:
        return float("inf")
    return max(abs(a - b) for step in curve for a in expected[step] for b in curve[step])


def weight_difference(expected: Path, folder: Path) -> float:
    """Largest difference between two runs' weights; infinite if the two do not have the same files."""
    names = [name for name in ("student.pt", "heads.pt", "model.pt") if (expected / name).is_file()]
    if not names or not all((folder / name).is_file() for name in names):
        return float("inf")
    pairs = [
        (torch.load(expected / name, weights_only=True), torch.load(folder / name, weights_only=True)) for name in names
    ]
    return max(float((a[key].double() - b[key].double()).abs().max()) for a, b in pairs for key in a)


def format_trial(trial: Trial) -> str:
    """One line."""
    when = "was done before it could be killed"
    if trial.moment is not None:
        since = f"checkpoint {trial.moment.checkpoints}" if trial.moment.checkpoints else "the start"
        when = f"killed {trial.moment.seconds:4.1f} s after {since}, at step {trial.killed_after_step:2d}"
    verdict = "equal" if trial.is_equal else "DIFFERENT"
    return (
        f"{trial.stage}, {trial.num_workers} workers, {when}: {verdict} over {trial.num_steps} steps "
        f"(loss {trial.loss_difference:.1e}, weights {trial.weight_difference:.1e})"
    )
