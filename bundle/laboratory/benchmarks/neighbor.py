"""What one busy process costs a training and inference beside it, by how their threads wait for one another."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from statistics import median

import torch

from bundle.export.deploy import Exporter
from bundle.export.model_card import load_segmenter
from bundle.inference.runtimes.load import load_runtime
from bundle.laboratory.benchmarks import training
from bundle.laboratory.benchmarks.record import Row
from bundle.paths import ROOT
from bundle.spinning import SPIN_COUNT, SPIN_COUNT_TRAINING

TRAINING = "training, phase 1"
OWN, SET, LATE = "libgomp's own", "set before PyTorch", "set after PyTorch"
WAYS = {OWN: "300000", SET: SPIN_COUNT, LATE: ""}
"""How threads wait: ``GOMP_SPINCOUNT`` of the process; empty: it is not set before PyTorch is loaded."""
WAYS_OF_TRAINING = {**WAYS, SET: SPIN_COUNT_TRAINING}
WORKS: Mapping[str, tuple[str, ...]] = {
    TRAINING: tuple(WAYS),
    "inference, torch": tuple(WAYS),
    "inference, onnx": (SET,),
    "inference, openvino": (SET,),
}
"""What is measured, and which ways; ONNX Runtime and OpenVINO have threads of their own, without the setting."""

BOOT = """
import os, sys
os.environ.pop("GOMP_SPINCOUNT", None)
if sys.argv[1]:
    os.environ["GOMP_SPINCOUNT"] = sys.argv[1]
import torch  # first, as in `python -m monai.bundle`
from bundle.laboratory.benchmarks.neighbor import serve_turns
serve_turns(int(sys.argv[2]), *sys.argv[3:])
"""


@dataclass(frozen=True)
class NeighborSetting:
    """What is measured, and for how long.

    Attributes:
        rounds: In each of which the ways take turns.
        seconds: Of a turn; one step is done at least.
        image_size: Side of the training's frames.
        batch_size: Of the training; inference takes one frame.
        works: Which of ``WORKS``.
    """

    rounds: int = 5
    seconds: float = 3.0
    image_size: int = 256
    batch_size: int = 8
    works: tuple[str, ...] = tuple(WORKS)


def measure_neighbor(setting: NeighborSetting = NeighborSetting()) -> list[Row]:
    """One row per work and way: frames per second alone and beside one busy process, with ratios to the first way."""
    with tempfile.TemporaryDirectory() as cache:
        return [row for work in setting.works for row in _rows(work, setting, cache)]


def serve_turns(descriptor: int, work: str, cache: str, image_size: str, batch_size: str) -> None:
    """The measured process: for every number of seconds that comes, send the frames per second of a turn."""
    step, num_frames = _prepare(work, cache, int(image_size), int(batch_size))
    step()
    connection = Connection(descriptor)
    connection.send("ready")
    while True:
        try:
            seconds = connection.recv()
        except EOFError:
            return
        connection.send(num_frames * _steps_per_second(step, seconds))


def _rows(work: str, setting: NeighborSetting, cache: str) -> Iterator[Row]:
    with ExitStack() as stack:
        ways = WAYS_OF_TRAINING if work == TRAINING else WAYS
        turns = {way: stack.enter_context(_process(ways[way], work, setting, cache)) for way in WORKS[work]}
        alone = _take_turns(turns, setting)
        with _busy_process():
            beside = _take_turns(turns, setting)
    first = WORKS[work][0]
    for way in WORKS[work]:
        yield {
            "work": work,
            "brief spinning": way if len(turns) > 1 else "not needed",
            "alone, frames/s": median(alone[way]),
            "to libgomp's own": _ratio(alone[way], alone[first]) if len(turns) > 1 else None,
            "beside a busy process, frames/s": median(beside[way]),
            "to libgomp's own, beside": _ratio(beside[way], beside[first]) if len(turns) > 1 else None,
        }


def _ratio(rates: list[float], others: list[float]) -> float:
    return median(rate / other for rate, other in zip(rates, others, strict=True))


def _take_turns(turns: Mapping[str, Callable[[], float]], setting: NeighborSetting) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {way: [] for way in turns}
    for _ in range(setting.rounds):
        for way, turn in turns.items():
            rates[way].append(turn())
    return rates


@contextmanager
def _process(spin_count: str, work: str, setting: NeighborSetting, cache: str) -> Iterator[Callable[[], float]]:
    """A turn of a process that is ready and idle between its turns."""
    ours, theirs = Pipe()
    arguments = [spin_count, str(theirs.fileno()), work, cache, str(setting.image_size), str(setting.batch_size)]
    process = subprocess.Popen([sys.executable, "-c", BOOT, *arguments], cwd=ROOT, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        ours.recv()

        def turn() -> float:
            ours.send(setting.seconds)
            return ours.recv()

        yield turn
    finally:
        ours.close()
        process.wait()


@contextmanager
def _busy_process() -> Iterator[None]:
    """Another program, to the system: in a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _prepare(work: str, cache: str, image_size: int, batch_size: int) -> tuple[Callable[[], object], int]:
    """A step, and how many frames it takes."""
    if work == TRAINING:
        setting = training.TrainingSetting(image_size=image_size, batch_size=batch_size)
        return training.TrainingStep(setting, training.Options(), steps=1).run, batch_size
    checkpoint = ROOT / "models" / "model.pt"
    segmenter = load_segmenter(checkpoint).eval()
    runtime = load_runtime(Exporter(segmenter, checkpoint, Path(cache)), work.split(", ")[1])
    return partial(runtime.coarse, torch.rand(1, 1, segmenter.image_size, segmenter.image_size)), 1


def _steps_per_second(step: Callable[[], object], seconds: float) -> float:
    start, number = time.perf_counter(), 0
    while number == 0 or time.perf_counter() - start < seconds:
        step()
        number += 1
    return number / (time.perf_counter() - start)
