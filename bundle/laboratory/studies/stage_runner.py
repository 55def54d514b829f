"""Stages as jobs that need each other: run in warm processes, stopped, gone on with, and timed."""

import json
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Queue
from typing import Any

import psutil
import torch

from bundle.atomic import write_json
from bundle.data.datalist import read_datalist
from bundle.engines.stages import Stage
from bundle.engines.stop_request import EXIT_STATUS
from bundle.laboratory.studies.plan import PlannedStage, what_counts
from bundle.paths import ROOT
from bundle.store.digest import digest
from bundle.store.views import file_fingerprint
from bundle.text import read_json


class Stopped(Exception):  # noqa: N818 - not an error: what was stopped goes on another time
    """A job was asked to stop before its end."""


@dataclass(frozen=True)
class Job:
    """One thing to do."""

    do: Callable[[], None]  # Does it; called in a thread
    # Names of jobs that must be done before; names that are unknown are of jobs done long ago
    needs: Sequence[str] = ()


def run_jobs(
    jobs: Mapping[str, Job],
    workers: int,
    is_stopped: Callable[[], bool] = lambda: False,
    on_stop: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Do jobs: always the first one, in the order given, whose needs are met.

    Args:
        jobs: By name, the most important first.
        workers: Jobs at the same time.
        is_stopped: Asked every second; then no job is started any more, and ``on_stop`` is called once.
        on_stop: Tells running jobs; those that can raise :class:`Stopped`.

    Returns:
        What failed: by name, why. A job that needs one that failed is not done, and is not among them.
    """
    waiting, running, done = dict(jobs), dict[Future[None], str](), set[str]()
    failed: dict[str, str] = {}
    start, is_told = time.monotonic(), False
    with ThreadPoolExecutor(workers) as pool:
        while waiting or running:
            if is_stopped() and not is_told:
                waiting, is_told = {}, True
                on_stop()
            for name, job in list(waiting.items()):
                if len(running) < workers and all(need in done or need not in jobs for need in job.needs):
                    running[pool.submit(waiting.pop(name).do)] = name
            if not running:
                break
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                name, error = running.pop(future), future.exception()
                if error is None:
                    done.add(name)
                elif not isinstance(error, Stopped):
                    failed[name] = str(error)
                words = "done" if error is None else "stopped" if isinstance(error, Stopped) else f"FAILED: {error}"
                minutes = (time.monotonic() - start) / 60
                line = f"[{len(done)}/{len(jobs)}, {minutes:.1f} min] {name}: {words}"
                print(line, flush=True)  # noqa: T201 - this is the command line
    return failed


LIBRARIES = [
    "monai.bundle",
    "monai.engines",
    "monai.handlers",
    "mlflow",
    "timm",
    __name__,  # which the children read their task from
    "bundle.engines.handlers",
    "bundle.losses.distillation",
    "bundle.segmentation.segmenter",
    "bundle.store.dataset",
]


class WarmProcesses:
    """Runs commands in children of one process that has imported what they need and nothing else."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(LIBRARIES)

    def run(self, command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> tuple[int, float]:
        """Run ``[python, -m, module, ...]``: its exit status, and its processor time in seconds (0 if killed)."""
        receiver, sender = self._context.Pipe(duplex=False)
        with receiver, sender:
            arguments = (list(command[2:]), folder, log, dict(environment), sender)
            process = self._context.Process(target=_main, args=arguments)
            process.start()
            process.join()
            return process.exitcode or 0, receiver.recv() if receiver.poll() else 0.0


def _main(arguments: list[str], folder: Path, log: Path, environment: dict[str, str], sender: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent says who stops, and how
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = arguments
    sys.path.insert(0, str(folder))  # as python -m does
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except Exception:
        sys.excepthook(*sys.exc_info())  # as at the end of a program
        sys.exit(1)
    finally:
        sender.send(time.process_time())


def _end_with_parent() -> None:
    """A study that was killed leaves no training behind: its next start goes on from the training's checkpoint."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


DONE, TIMES = "done.json", "seconds.json"


class StageRunner:
    """Runs stages in processes of their own; what is done is not done again, and what was stopped goes on.

    Args:
        jobs: Stages at the same time; each gets its share of the cores (or ``OMP_NUM_THREADS``), and a GPU of its own
            if there are several.
    """

    def __init__(self, jobs: int = 1) -> None:
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (psutil.cpu_count(logical=False) or 1) // jobs))
        self._processes = WarmProcesses({"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads})
        folder = ROOT / "configs"
        paths = [*folder.glob("*.json"), *folder.glob("laboratory/overlays/*.json")]
        self._configs = {path.relative_to(folder).as_posix(): _content(path) for path in paths}
        self._places: Queue[int] = Queue()
        for place in range(jobs):
            self._places.put(place)
        self._trainings: set[Path] = set()
        self._lock = threading.Lock()

    def train(self, stage: PlannedStage) -> None:
        """Run a training, or what is left of it."""
        if not (stage.folder / DONE).is_file():
            stage.folder.mkdir(parents=True, exist_ok=True)
            write_json(stage.folder / "overlay.json", stage.keys)
            with self._lock:
                self._trainings.add(stage.folder)
            try:
                self._run(stage.stage, stage.folder)
            finally:
                with self._lock:
                    self._trainings.discard(stage.folder)

    def fill(self, stage: PlannedStage) -> None:
        """Fill the store with the features of a stage's teachers; again, in seconds, if the films' files are others.

        The store finds frames by their files' names, sizes and times, but features by content: after the same films
        were copied anew, another filling teaches it the files, and its time is not counted as the teachers'.
        """
        folder, films = stage.folder / "features", _fingerprint(Path(stage.keys["datalist"]))
        if not (folder / DONE).is_file() or read_json(folder / DONE).get("films") != films:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(stage.folder / "overlay.json", stage.keys)
            self._run(stage.filling, folder, {"films": films})

    def evaluate(self, stage: PlannedStage, splits: Sequence[str]) -> None:
        """Evaluate what was trained."""
        for split in splits:
            folder = stage.folder / split
            if not (folder / DONE).is_file():
                folder.mkdir(parents=True, exist_ok=True)
                self._run(stage.evaluation(split), folder)

    def stop(self) -> None:
        """Ask all trainings to save a checkpoint and to end; the rest ends on its own soon, or can be killed."""
        with self._lock:
            for folder in self._trainings:
                (folder / "stop").touch()

    def _run(self, stage: Stage, folder: Path, done: Mapping[str, str] | None = None) -> None:
        """Raises ``Stopped`` if it was asked to stop, ``RuntimeError`` with its last words if it failed."""
        changed = [name for name, known in self._configs.items() if name in stage.configs and known != _content(name)]
        if changed:
            raise RuntimeError(f"{', '.join(changed)} changed since the study was started: start it again")
        times = folder / TIMES
        before = json.loads(times.read_text())["seconds"] if times.is_file() else []
        is_counted = not (folder / DONE).is_file()
        if is_counted:
            write_json(times, {"seconds": [*before, None]})  # as it stays if all is killed
        log, gpus, place = folder / "log.txt", torch.cuda.device_count(), self._places.get()
        try:
            environment = {"CUDA_VISIBLE_DEVICES": str(place % gpus)} if gpus > 1 else {}
            status, seconds = self._processes.run(stage.command(), ROOT, log, environment)
        finally:
            self._places.put(place)
        if is_counted:
            write_json(times, {"seconds": [*before, seconds]})
        if status == EXIT_STATUS:
            raise Stopped
        if status:
            lines = log.read_text(encoding="utf-8").strip().splitlines()
            raise RuntimeError(f"{stage.title} ended with status {status}: {lines[-1] if lines else ''} (all in {log})")
        write_json(folder / DONE, done or {})


def _fingerprint(datalist: Path) -> str:
    """Of the films that a data list names for distillation, as the store knows them."""
    content = read_datalist(datalist)
    items = [item for section in ("training", "validation") for item in content.get(section, ())]
    files = (file_fingerprint(datalist.parent / item["image"]) for item in items)
    return digest(json.dumps(items), *files).hex()


def _content(name: str | Path) -> Any:
    return what_counts(json.loads((ROOT / "configs" / name).read_text(encoding="utf-8")))


def minutes(folder: Path) -> float | None:
    """Processor time that a stage took in all its parts; None if a part was killed, or it is not done."""
    if not (folder / DONE).is_file() or not (folder / TIMES).is_file():
        return None
    seconds = json.loads((folder / TIMES).read_text())["seconds"]
    return None if None in seconds else round(sum(seconds) / 60, 3)
