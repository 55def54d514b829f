"""Kill the filling of a store with signal 9 at random moments, run it again, and compare with one left in peace."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bundle.atomic import write_json
from bundle.engines.stages import Stage
from bundle.laboratory.trials.kill_trials import MOST_TRIES, run_quietly
from bundle.laboratory.trials.store_contents import contents, unfinished
from bundle.paths import ROOT

SMALL: dict[str, str | int | float] = {
    "datalist::num_train": 4,
    "datalist::num_frames": 4,
    "num_views": 3,
    "shard_mib": 0.5,
    "device": "$torch.device('cpu')",
}
"""52 views of the smoke configuration's phantom, in blocks of four or less."""
CONFIGS: Sequence[str] = ("distill.json", "smoke.json", "stored_features.json", "cache_features.json")


@dataclass(frozen=True)
class StoreTrial:
    """One killed and repeated run.

    Attributes:
        precision: "float16" or "int8".
        killed_after_seconds: From the moment that the store's folder was there; None if the run was done before.
        num_entries_left: Entries that the killed run left, of all tables.
        num_half_written: Files that it left half written.
        num_entries: Entries of the finished store.
        is_equal: Whether every entry is, to the last bit, that of the run left in peace, and nothing is half written.
    """

    precision: str
    killed_after_seconds: float | None
    num_entries_left: int
    num_half_written: int
    num_entries: int
    is_equal: bool


def run_store_trials(output_dir: str | Path, num_trials: int = 20, seed: int = 0) -> dict[str, Any]:
    """Trials with float16 and int8 in turn.

    Args:
        output_dir: A new folder.
        num_trials: How many runs are killed; those that are done before they can be are compared, too.
        seed: Of the moments.

    Returns:
        ``num_trials``, ``num_killed``, ``num_equal`` and the ``trials``; also in ``store_kill_trials.json``.

    Raises:
        RuntimeError: If a command fails of itself.
    """
    folder = Path(output_dir).resolve()
    moments = random.Random(seed)
    references = [_reference(folder, precision) for precision in ("float16", "int8")][:num_trials]
    trials: list[StoreTrial] = []
    while (number := len(trials)) < MOST_TRIES * num_trials and _num_killed(trials) < num_trials:
        stage, seconds = references[number % len(references)]
        trials.append(run_store_trial(stage, folder / f"trial_{number:02d}", moments.uniform(0, seconds)))
        print(format_store_trial(trials[-1]), flush=True)  # noqa: T201 - this is the command line
    report = {
        "num_trials": len(trials),
        "num_killed": _num_killed(trials),
        "num_equal": sum(trial.is_equal for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }
    write_json(folder / "store_kill_trials.json", report)
    return report


def _num_killed(trials: Sequence[StoreTrial]) -> int:
    return sum(trial.killed_after_seconds is not None for trial in trials)


def run_store_trial(reference: Stage, folder: Path, seconds: float) -> StoreTrial:
    """Kill one filling ``seconds`` after it began to write, repeat it, and compare it with the reference's store.

    Args:
        reference: The stage that was left in peace.
        folder: A new folder for the killed run.
        seconds: From the moment that the store's folder is there.
    """
    stage = replace(
        reference, overrides={**reference.overrides, "store_dir": str(folder), "output_dir": str(folder) + "_run"}
    )
    was_killed = _run_and_kill(stage, folder / "store.json", seconds)
    left, half_written = len(contents(folder)), len(unfinished(folder))
    run_quietly(stage)
    expected, found = contents(Path(str(reference.overrides["store_dir"]))), contents(folder)
    return StoreTrial(
        precision=str(reference.overrides["precision"]),
        killed_after_seconds=round(seconds, 2) if was_killed else None,
        num_entries_left=left,
        num_half_written=half_written,
        num_entries=len(found),
        is_equal=bool(found) and found == expected and not unfinished(folder),
    )


def format_store_trial(trial: StoreTrial) -> str:
    """One line."""
    when = "was done before it could be killed"
    if trial.killed_after_seconds is not None:
        when = f"killed after {trial.killed_after_seconds:4.1f} s with {trial.num_entries_left} entries"
    verdict = "equal" if trial.is_equal else "DIFFERENT"
    files = f"{trial.num_half_written} files half written"
    return f"{trial.precision}, {when}, {files}: {verdict}, {trial.num_entries} entries"


def _reference(folder: Path, precision: str) -> tuple[Stage, float]:
    """A filling left in peace, and the seconds from its first file to its end."""
    store = folder / f"reference_{precision}"
    data = {**SMALL, "precision": precision, "dataset_dir": str(folder / "phantom")}
    stage = Stage("fill", CONFIGS, {**data, "store_dir": str(store), "output_dir": f"{store}_run"}, run_id="run")
    run_quietly(stage)
    return stage, time.time() - (store / "store.json").stat().st_mtime


def _run_and_kill(stage: Stage, first_file: Path, seconds: float) -> bool:
    """Kill a stage ``seconds`` after it wrote its first file; False if it was done before."""
    process = subprocess.Popen(
        stage.command(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not first_file.is_file():
        time.sleep(0.01)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False
