"""Kill a training, or the filling of a store, at random moments, give the same command again, and compare."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from bundle.atomic import write_json
from bundle.engines.stages import Stage
from bundle.engines.tracking import sqlite_uri
from bundle.laboratory.trials.store_contents import contents, unfinished
from bundle.paths import ROOT

PHASE_1, PHASE_2 = "phase 1", "phase 2"
TOLERANCE = 1e-6
SMALL: dict[str, str | int | float] = {
    "datalist::num_train": 4,
    "datalist::num_frames": 4,
    "device": "$torch.device('cpu')",
}
TRAINING = {**SMALL, "epochs": 3, "checkpoint_every": "2 steps"}
"""24 steps on the smoke configuration's phantom, a checkpoint after every second one."""
STORE = {**SMALL, "num_views": 3, "shard_mib": 0.5}
"""52 views of the same, in blocks of four or less."""
FILLING = ("distill.json", "smoke.json", "stored_features.json", "cache_features.json")
NUM_CHECKPOINTS = 12
NUM_WORKERS = (0, 2)  # loader processes, in turn
MOST_TRIES = 3
"""Runs per kill; more would mean that they are done before they can be killed."""

Reference = tuple[Stage, float]
"""A run left in peace, and the seconds that it took."""


@dataclass(frozen=True)
class Moment:
    """When to kill."""

    checkpoints: int  # to wait for first: files written, one over the other
    seconds: float  # to wait then


@dataclass(frozen=True)
class Trial:
    """One killed and repeated run against the uninterrupted one."""

    stage: str  # what was run
    killed: str | None  # when, and what was there; None if it was done before
    found: str  # what was compared
    is_equal: bool
    loss_difference: float = 0.0  # largest of a step's losses, also of those done twice


def run_kill_trials(output_dir: str | Path, num_trials: int = 20, seed: int = 0) -> dict[str, Any]:
    """Kill both phases in turn, each with no and with two loader workers; losses and weights must be equal.

    Args:
        output_dir: A new folder; gets ``kill_trials.json``.
        num_trials: How many runs are killed; those that are done before they can be are compared, too.
        seed: Of the moments.

    Returns:
        ``num_trials``, ``num_killed``, ``num_equal``, ``largest_loss_difference`` and the ``trials``.

    Raises:
        RuntimeError: If a command fails of itself.
    """
    folder, moments = Path(output_dir).resolve(), random.Random(seed)
    data = {**TRAINING, "dataset_dir": str(folder / "phantom")}
    student = str(folder / PHASE_1 / "student.pt")
    stages = [
        Stage(PHASE_1, ["distill.json", "smoke.json"], {**data, "output_dir": str(folder / PHASE_1)}),
        Stage(
            PHASE_2,
            ["train.json", "smoke.json"],
            {**data, "output_dir": str(folder / PHASE_2), "student_checkpoint": student},
        ),
    ]
    references = [(stage, run_quietly(stage)) for stage in stages]

    def trial(number: int, target: Path) -> Trial:
        stage, seconds = references[number % len(references)]
        workers = NUM_WORKERS[number // len(references) % len(NUM_WORKERS)]
        if number % 4 < 2:  # anywhere, often before the first step
            moment = Moment(0, moments.uniform(0, 0.8 * seconds))
        else:
            moment = Moment(moments.randint(1, NUM_CHECKPOINTS - 1), moments.uniform(0, 1))
        return run_trial(stage, target, moment, workers)

    return _run_trials(folder, "kill_trials.json", num_trials, trial)


def run_store_trials(output_dir: str | Path, num_trials: int = 20, seed: int = 0) -> dict[str, Any]:
    """Kill the filling of a store, float16 and int8 in turn; every entry must have the same bits.

    Args:
        output_dir: A new folder; gets ``store_kill_trials.json``.
        num_trials: As for :func:`run_kill_trials`, as are what is returned and what is raised.
        seed: Of the moments.
    """
    folder, moments = Path(output_dir).resolve(), random.Random(seed)
    references: list[Reference] = []
    for precision in ("float16", "int8")[:num_trials]:
        store = folder / f"reference_{precision}"
        keys = {**STORE, "precision": precision, "dataset_dir": str(folder / "phantom")}
        stage = Stage(precision, FILLING, {**keys, "store_dir": str(store), "output_dir": f"{store}_run"}, run_id="run")
        run_quietly(stage)
        references.append((stage, time.time() - (store / "store.json").stat().st_mtime))  # since its first file

    def trial(number: int, target: Path) -> Trial:
        stage, seconds = references[number % len(references)]
        return run_store_trial(stage, target, moments.uniform(0, seconds))

    return _run_trials(folder, "store_kill_trials.json", num_trials, trial)


def _run_trials(folder: Path, file: str, num_trials: int, trial: Callable[[int, Path], Trial]) -> dict[str, Any]:
    trials: list[Trial] = []
    num_killed = 0
    while (number := len(trials)) < MOST_TRIES * num_trials and num_killed < num_trials:
        trials.append(trial(number, folder / f"trial_{number:02d}"))
        num_killed += trials[-1].killed is not None
        print(format_trial(trials[-1]), flush=True)  # noqa: T201 - this is the command line
    report = {
        "num_trials": len(trials),
        "num_killed": num_killed,
        "num_equal": sum(trial.is_equal for trial in trials),
        "largest_loss_difference": max(trial.loss_difference for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }
    write_json(folder / file, report)
    return report


def run_trial(reference: Stage, folder: Path, moment: Moment, num_workers: int = 0) -> Trial:
    """Kill one training, resume it, and compare it with the reference's folder."""
    stage = replace(reference, overrides={**reference.overrides, "output_dir": str(folder), "num_workers": num_workers})
    was_killed = run_and_kill(stage, moment, folder / "checkpoints" / "last.pt")
    step = max(loss_curve(folder), default=0)
    run_quietly(stage)
    peaceful = Path(str(reference.overrides["output_dir"]))
    curve = loss_curve(folder)
    losses, weights = curve_difference(loss_curve(peaceful), curve), weight_difference(peaceful, folder)
    since = f"checkpoint {moment.checkpoints}" if moment.checkpoints else "the start"
    return Trial(
        f"{stage.title}, {num_workers} workers",
        f"{moment.seconds:4.1f} s after {since}, at step {step:2d}" if was_killed else None,
        f"{max(curve)} steps (loss {losses:.1e}, weights {weights:.1e})",
        max(losses, weights) <= TOLERANCE,
        losses,
    )


def run_store_trial(reference: Stage, folder: Path, seconds: float) -> Trial:
    """Kill one filling, repeat it, and compare it with the reference's store."""
    keys = {**reference.overrides, "store_dir": str(folder), "output_dir": f"{folder}_run"}
    stage = replace(reference, overrides=keys)
    was_killed = run_and_kill(stage, Moment(1, seconds), folder / "store.json")
    left = f"{len(contents(folder))} entries and {len(unfinished(folder))} files half written"
    run_quietly(stage)
    expected, found = contents(Path(str(reference.overrides["store_dir"]))), contents(folder)
    return Trial(
        stage.title,
        f"{seconds:4.1f} s after the first file, with {left}" if was_killed else None,
        f"{len(found)} entries",
        bool(found) and found == expected and not unfinished(folder),
    )


def run_quietly(stage: Stage) -> float:
    """Run a stage to its end; its seconds.

    Raises:
        RuntimeError: With the end of its output, if it fails.
    """
    start = time.monotonic()
    done = subprocess.run(
        stage.command(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{stage.title} ended with status {done.returncode}: {done.stdout[-2000:]}")
    return time.monotonic() - start


def run_and_kill(stage: Stage, moment: Moment, file: Path) -> bool:
    """Start a stage and kill it with all its workers, some time after it wrote a file; False if it was done before."""
    process = subprocess.Popen(
        stage.command(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    seen: set[int] = set()
    while len(seen) < moment.checkpoints and process.poll() is None:
        with suppress(FileNotFoundError):  # also for the moment in which a checkpoint becomes previous.pt
            seen.add(file.stat().st_mtime_ns)
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
    pairs = [[torch.load(at / name, weights_only=True) for at in (expected, folder)] for name in names]
    return max(float((a[key].double() - b[key].double()).abs().max()) for a, b in pairs for key in a)


def format_trial(trial: Trial) -> str:
    """One line."""
    when = f"killed {trial.killed}" if trial.killed else "was done before it could be killed"
    return f"{trial.stage}, {when}: {'equal' if trial.is_equal else 'DIFFERENT'} over {trial.found}"
