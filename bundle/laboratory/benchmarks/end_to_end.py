"""Speed of the real-time command itself, from its start to the results on the disk."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from statistics import median
from typing import cast

from bundle.engines.stages import children_cpu_seconds
from bundle.laboratory.benchmarks.deployment import HELD_OUT_SEEDS, OUTPUTS, repeated_study
from bundle.laboratory.benchmarks.record import Row
from bundle.paths import ROOT
from bundle.phantom.study import generate_study
from bundle.phantom.writer import write_dicom

ALL = tuple(json.loads((ROOT / "configs" / "inference.json").read_text(encoding="utf-8"))["outputs"])
WAYS = {"preset": OUTPUTS, "all outputs": ALL}
PROGRESS = re.compile(rb"segment:[^\r\n]*?(\d+)/\d+ \[")
"""Of the command's bar: frames that have been read, of which the network has had all but the newest chunk."""


@dataclass(frozen=True)
class EndToEndSetting:
    """What is measured, and for how long."""

    size: int = 512  # Rows and columns of the films
    num_frames: tuple[int, int] = (60, 660)  # Of the short and of the long film
    rounds: int = 3  # In each of which the ways take turns with both films


@dataclass(frozen=True)
class CommandTime:
    """One run of the command, in seconds."""

    first_frame: float  # From the start until the first frames are segmented
    whole: float
    processor: float  # Of all its processes


def measure_end_to_end(setting: EndToEndSetting = EndToEndSetting()) -> list[Row]:
    """One row per way: frames per second by the difference between a long and a short film, and what comes on top."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = [_write_film(folder, setting.size, number) for number in setting.num_frames]
        _run(films[0], folder, OUTPUTS)  # exports the network
        turns = [
            {way: tuple(_run(film, folder, outputs) for film in films) for way, outputs in WAYS.items()}
            for _ in range(setting.rounds)
        ]
    return list(_rows(turns, setting))


def _rows(turns: Sequence[dict[str, tuple[CommandTime, ...]]], setting: EndToEndSetting) -> Iterator[Row]:
    num_frames = setting.num_frames[1] - setting.num_frames[0]
    speeds: dict[str, list[float]] = {}
    for way in WAYS:
        pairs = [turn[way] for turn in turns]
        speeds[way] = [num_frames / (long.whole - short.whole) for short, long in pairs]
        processor = [1000 * (long.processor - short.processor) / num_frames for short, long in pairs]
        first = next(iter(WAYS))
        yield {
            "command": way,
            "frames/s": median(speeds[way]),
            "lowest": min(speeds[way]),
            "highest": max(speeds[way]),
            f"to the {first}": median(own / other for own, other in zip(speeds[way], speeds[first], strict=True)),
            "processor, ms/frame": median(processor),
            "cores busy": median(ms * speed / 1000 for ms, speed in zip(processor, speeds[way], strict=True)),
            "start to first frame, s": median(run.first_frame for pair in pairs for run in pair),
        }


def _write_film(folder: Path, size: int, num_frames: int) -> Path:
    """A synthetic cine of a swallow over and over."""
    study = generate_study(HELD_OUT_SEEDS[0], size, min(24, num_frames))
    path = folder / f"{num_frames}.dcm"
    write_dicom(repeated_study(study, num_frames), path, "bench")
    return path


def _run(film: Path, folder: Path, outputs: Sequence[str]) -> CommandTime:
    """Run the command on a film.

    Raises:
        RuntimeError: If it fails, with its last words.
    """
    with tempfile.TemporaryDirectory(dir=folder) as target:
        command = [sys.executable, "-m", "bundle.command.app", "segment", str(film), "--output", target]
        command += ["--config", "realtime.json", f"cache_dir={folder / 'exported'}", f"outputs={list(outputs)}"]
        before, start = children_cpu_seconds(), time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            first, words = _watch(process, start)
        whole = time.perf_counter() - start
        if process.returncode:
            raise RuntimeError(f"the command ended with status {process.returncode}: {words.decode(errors='replace')}")
        return CommandTime(first, whole, children_cpu_seconds() - before)


def _watch(process: subprocess.Popen, start: float) -> tuple[float, bytes]:
    """When a second chunk of frames has come, so that the first has been through the network; the last words."""
    output, words, first, chunk = cast(BufferedReader, process.stdout), b"", 0.0, 0
    while read := output.read1():
        words = (words + read)[-4000:]
        for found in PROGRESS.finditer(words) if not first else ():
            chunk = chunk or int(found[1])
            first = first or (time.perf_counter() - start if int(found[1]) > max(chunk, 1) else 0.0)
    return first or time.perf_counter() - start, words
