"""How inference on a long film spends its time, and how much memory it holds on the way."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import torch
from torch import Tensor, nn

from bundle.atomic import write_json
from bundle.data.readers import FrameChunk, stream_clip
from bundle.inference.predictor import ClipInferer, HasCoarseLogits
from bundle.inference.run import StudyOptions, segment_studies
from bundle.inference.spool import MaskSpool, PictureSpool
from bundle.inference.writers import WRITERS
from bundle.laboratory.benchmarks.record import Row
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES

PATTERN_FRAMES = 60
"""Different frames of a film; they are repeated."""

FRAME_RATE, CHUNK_FRAMES = 30, 8
SAMPLE_SECONDS = 0.1
CHILDREN_SECONDS = 2.0  # to look for processes takes long
SEGMENT = "segment"


@dataclass(frozen=True)
class MemorySample:
    """What this process and the decoding process hold."""

    frames: int  # Segmented so far
    stage: str  # What was going on: "segment", or the output that was written
    seconds: float  # Since the start
    resident_mb: float  # Now
    peak_mb: float  # Highest so far


@dataclass
class StreamingReport:
    """One film."""

    num_frames: int  # Of the film
    size: int  # Its rows and columns
    # Per stage: "segment" (decoding, inference and putting away, which overlap), and each output
    seconds: dict[str, float] = field(default_factory=dict)
    # Memory, at the start, every so many frames, and at the end of every output
    samples: list[MemorySample] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """One row per stage, for a table."""
        return [
            {
                "stage": stage,
                "ms per frame": 1000 * seconds / self.num_frames,
                "frames/s": self.num_frames / seconds,
                "peak memory so far, MiB": max(sample.peak_mb for sample in self.samples if sample.stage == stage),
            }
            for stage, seconds in self.seconds.items()
        ]


def streaming_rows(
    network: nn.Module,
    image_size: int,
    folder: str | Path,
    num_frames: int = 18_000,
    size: int = 512,
    curve_path: str | Path | None = None,
) -> list[Row]:
    """The benchmark's table: each part of the way on its own, then a long film through all of it."""
    alone = time_parts(network, image_size, folder, size=size)
    report = measure_streaming(network, image_size, folder, num_frames, size, curve_path=curve_path)
    parts: list[Row] = [
        {"stage": f"{name}, alone", "ms per frame": value, "frames/s": 1000 / value, "peak memory so far, MiB": None}
        for name, value in alone.items()
    ]
    return [*parts, *report.rows()]


def measure_streaming(
    network: nn.Module,
    image_size: int,
    folder: str | Path,
    num_frames: int = 18_000,
    size: int = 512,
    outputs: Sequence[str] = ("areas", "measures", "nifti", "overlay"),
    sample_every: int = 1000,
    curve_path: str | Path | None = None,
) -> StreamingReport:
    """Segment a synthetic film as ``configs/inference.json`` does; samples of memory go to a JSON file."""
    film = write_film(Path(folder) / "film.mp4", num_frames, size)
    report = StreamingReport(num_frames, size)
    watch = _Watch(report, sample_every)
    inferer, output_dir = ClipInferer(image_size, CHUNK_FRAMES, progress=False), Path(folder) / "results"

    def count(function: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
        output = function(frames)
        watch.add_frames(len(frames))
        return output

    counted = _Watched(network, count)
    with watch.running(), _timed_writers(watch, outputs):
        results = segment_studies(
            film, output_dir, counted, inferer, STRUCTURES, outputs, options=StudyOptions(CHUNK_FRAMES)
        )
    results.exit_if_refused()
    if curve_path is not None:
        write_json(curve_path, {**asdict(report), "outputs": list(outputs), "chunk_frames": CHUNK_FRAMES})
    return report


def time_parts(
    network: nn.Module, image_size: int, folder: str | Path, num_frames: int = 120, size: int = 512
) -> dict[str, float]:
    """Milliseconds per frame of each part of the way to the masks on its own, without overlap."""
    film = write_film(Path(folder) / "stages.mp4", num_frames, size)
    clock, inferer = _Clock(), ClipInferer(image_size, CHUNK_FRAMES, progress=False)
    timed_network = _Watched(network, partial(clock.time, "network"))
    kept = MaskSpool(folder, len(STRUCTURES), size, size), PictureSpool(folder, size, size)
    for is_warm in (False, True):  # the first turn starts the decoding process and warms up the network
        chunks = clock.time("decoding", lambda: list(stream_clip(film, CHUNK_FRAMES)))
        for chunk in chunks:
            if isinstance(chunk, FrameChunk):
                frames = clock.time("gray values", chunk.shown)
                masks = clock.time("inferer", inferer, torch.from_numpy(frames), timed_network).numpy()
                clock.time("masks to disk", _append_all, kept[0], masks)
                clock.time("pictures to disk", _append_all, kept[1], frames)
        if not is_warm:
            clock.seconds.clear()
    for spool in kept:
        spool.close()
    clock.seconds["letterbox, masks to the film's grid"] = clock.seconds.pop("inferer") - clock.seconds["network"]
    return {name: 1000 * value / num_frames for name, value in clock.seconds.items()}


def _append_all(spool: MaskSpool | PictureSpool, items: np.ndarray) -> None:
    for item in items:
        spool.append(item)


def write_film(path: Path, num_frames: int, size: int) -> Path:
    """An H.264 film of a synthetic swallow over and over; only the first round is encoded, the others are copies."""
    study = generate_study(seed=1, size=size, num_frames=min(PATTERN_FRAMES, num_frames))
    pattern = (study.frames[:, 0] * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"bf": "0", "g": str(len(pattern)), "crf": "20"}
        stream = container.add_stream("libx264", rate=FRAME_RATE, options=options)
        stream.height = stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, FRAME_RATE)
        frames = [av.VideoFrame.from_ndarray(values, format="gray") for values in pattern]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        contents = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for index in range(num_frames):
            content, is_keyframe = contents[index % len(contents)]
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, FRAME_RATE), is_keyframe
            packet.pts = packet.dts = index
            container.mux(packet)
    return path


class _Watch:
    """Samples memory in a thread, and notes it when a stage has come so far."""

    def __init__(self, report: StreamingReport, sample_every: int) -> None:
        self.report = report
        self.sample_every = sample_every
        self.frames, self.stage = 0, SEGMENT
        self._process = psutil.Process()
        self._children: list[psutil.Process] = []
        self._looked_for_children = -CHILDREN_SECONDS
        self._peak = self._resident = 0.0
        self._start = time.monotonic()
        self._is_done = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            self.note()
            yield
        finally:
            self._is_done.set()
            thread.join()

    def note(self) -> None:
        self._look()
        seconds = time.monotonic() - self._start
        self.report.samples.append(MemorySample(self.frames, self.stage, seconds, self._resident, self._peak))

    def add_frames(self, number: int) -> None:
        before, self.frames = self.frames, self.frames + number
        if self.frames // self.sample_every > before // self.sample_every:
            self.note()

    def end_stage(self, name: str, seconds: float) -> None:
        self.stage = name
        self.report.seconds[name] = seconds
        self.note()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def _sample(self) -> None:
        while not self._is_done.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        resident = 0
        if self.seconds - self._looked_for_children >= CHILDREN_SECONDS:
            self._children, self._looked_for_children = self._process.children(recursive=True), self.seconds
        for process in [self._process, *self._children]:
            try:
                resident += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self._resident = resident / 2**20
        self._peak = max(self._peak, self._resident)


class _Clock:
    """Adds up the time of calls by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        value = function(*args)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return value


class _Watched(nn.Module):
    """A network whose calls, for coarse logits too if it has them, go through another function."""

    def __init__(self, network: nn.Module, call: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.call = network, call
        if isinstance(network, HasCoarseLogits):
            self.coarse = lambda frames: call(network.coarse, frames)

    def forward(self, frames: Tensor) -> Tensor:
        return self.call(self.network, frames)


@contextmanager
def _timed_writers(watch: _Watch, outputs: Sequence[str]) -> Iterator[None]:
    """Note when each writer begins and ends; the first one's beginning is the end of the segmentation."""
    unchanged = dict(WRITERS)

    def timed(name: str) -> Callable:
        def write(study: Any, folder: Path) -> str | None:
            if SEGMENT not in watch.report.seconds:
                watch.end_stage(SEGMENT, watch.seconds)
            start = time.monotonic()
            note = unchanged[name](study, folder)
            watch.end_stage(name, time.monotonic() - start)
            return note

        return write

    WRITERS.update({name: timed(name) for name in outputs})
    try:
        yield
    finally:
        WRITERS.update(unchanged)
