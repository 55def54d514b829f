"""How every reader hands over a clip: what is to come, frame after frame, and at the end what is known of the whole.

Collected into one array for whoever wants the whole clip, or in chunks for whoever must not hold it.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from bundle.data.clip import Clip, Display, as_displays, check_size, show
from bundle.data.worker_channel import empty_frames

SAMPLED_ROWS = 32  # and columns: at least as many are compared
MAX_DIFFERENCE = 0.05 / 255  # mean, of the full scale: noise of a pulse of its own is above it
REPEATED_SHARE = 0.2  # of 15 pulses/s captured at 30 frames/s it is 0.5
FEWEST_FRAMES = 10


class RepeatCounter:
    """Counts them as frames come by.

    Args:
        rows: Of a frame.
        columns: Of a frame.

    Attributes:
        step: Every ``step``-th row and column is looked at.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.step = max(1, min(rows, columns) // SAMPLED_ROWS)
        self._num_frames = self._repeats = 0
        self._last: np.ndarray | None = None

    def add(self, sample: np.ndarray) -> None:
        """Look at the next frames ``(n, h, w)``, as shown, of every ``step``-th row and column."""
        known = sample if self._last is None else np.concatenate([self._last, sample])
        difference = np.abs(np.diff(known, axis=0)).mean(axis=(1, 2))
        self._repeats += int((difference < MAX_DIFFERENCE).sum())
        self._num_frames += len(sample)
        self._last = np.array(sample[-1:])

    def warnings(self) -> tuple[str, ...]:
        """A warning where at least a fifth of ten frames or more repeat the one before."""
        if self._num_frames < FEWEST_FRAMES or self._repeats < REPEATED_SHARE * self._num_frames:
            return ()
        share = f"{self._repeats} of {self._num_frames} frames"
        return (f"{share} repeat the one before: the pulse rate was below the frame rate",)


class ClipStart(NamedTuple):
    """A clip begins; whatever came before is to be forgotten."""

    path: Path  # The file, for errors
    num_frames: int  # How many frames are expected; there may be fewer or more
    rows: int  # Of each frame
    columns: int  # Of each frame
    dtype: np.dtype  # Of each frame
    pixel_aspect: float = 1.0  # Height of a pixel divided by its width
    has_spacing: bool = False  # Whether the source states a pixel spacing
    is_film: bool = True  # Whether frames that repeat the one before are worth a warning


class StreamedFrame(NamedTuple):
    """A frame ``(H, W)`` as stored, and how it is shown; None: at full scale, or the clip at the end says it."""

    stored: np.ndarray
    display: Display | None = None


FrameStream = Generator[ClipStart | StreamedFrame, None, Clip]
"""Starts, each followed by its frames; returns the clip with ``PassedFrames`` in their place."""


@dataclass(frozen=True)
class PassedFrames:
    """Stands in a clip for frames that were handed over one by one."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index: Any) -> NoReturn:
        raise LookupError("this clip's frames were handed over one by one and are not kept in it")


@dataclass(frozen=True, eq=False)
class FrameChunk:
    """Consecutive frames of a clip."""

    first: int  # Index of the first one. 0: whatever came before is to be forgotten
    expected: int  # How many frames the clip is expected to have
    stored: np.ndarray  # (n, 1, H, W), as in Clip
    displays: tuple[Display, ...]  # As in Clip
    pixel_aspect: float  # Height of a pixel divided by its width
    has_spacing: bool  # Whether the source states a pixel spacing

    def shown(self) -> np.ndarray:
        """Frames as the viewer would show them, ``(n, 1, H, W)``, float32 in [0, 1]."""
        return show(self.stored, self.displays)

    def sample(self, step: int) -> np.ndarray:
        """As of ``Clip``."""
        return show(self.stored[:, 0, ::step, ::step], self.displays, step)


def collect_clip(stream: FrameStream) -> Clip:
    """The whole clip, in memory.

    Raises:
        UnreadableStudyError: If it would exceed ``MAX_CLIP_BYTES``, or the stream says so.
    """
    start, frames = None, np.empty((0, 1, 1, 1))
    displays: list[Display | None] = []
    for item in (parts := _Parts(stream)):
        if isinstance(item, ClipStart):
            start, displays = item, []
            check_size(item.path, item.num_frames, item.rows, item.columns)
            frames = empty_frames((item.num_frames, 1, item.rows, item.columns), item.dtype)
            continue
        index = len(displays)
        if index == len(frames) and start is not None:  # more than expected: a packet holds two
            check_size(start.path, 2 * index, start.rows, start.columns)
            grown = empty_frames((2 * index, 1, start.rows, start.columns), start.dtype)
            grown[:index] = frames
            frames = grown
        frames[index, 0] = item.stored
        displays.append(item.display)
    num_frames = parts.clip.num_frames
    shown = parts.clip.displays or as_displays(displays[:num_frames], frames.dtype)
    clip = replace(parts.clip, stored=frames[:num_frames], displays=shown)
    repeats = RepeatCounter(clip.shape.rows, clip.shape.columns)
    if start is not None and start.is_film:
        repeats.add(clip.sample(repeats.step))
    return _with_warnings(clip, repeats)


def chunked(stream: FrameStream, chunk_frames: int) -> Iterator[FrameChunk | Clip]:
    """The same in chunks, and the clip without its frames at the end; no more than a chunk is held.

    Args:
        stream: Its frames say at once how they are shown.
        chunk_frames: Frames per chunk; the last one may have fewer.
    """
    chunks = _Chunks(chunk_frames)
    for item in (parts := _Parts(stream)):
        if isinstance(item, ClipStart):
            chunks.begin(item)
            continue
        chunks.add(item)
        if chunks.is_full:
            yield chunks.take()
    if not chunks.is_empty:
        yield chunks.take()
    yield _with_warnings(parts.clip, chunks.repeats)


class _Parts:
    """A stream's items, and afterwards the clip that it returned."""

    clip: Clip

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[ClipStart | StreamedFrame]:
        self.clip = yield from self._stream


class _Chunks:
    """Fills one chunk after the other."""

    def __init__(self, chunk_frames: int) -> None:
        self.chunk_frames = chunk_frames

    def begin(self, start: ClipStart) -> None:
        self.start = start
        self.repeats = RepeatCounter(start.rows, start.columns)
        self.first = 0
        self._forget()

    def _forget(self) -> None:
        self._stored: np.ndarray | None = None  # pages are asked for when they are needed: see DecodeWorker.stream
        self._displays: list[Display | None] = []

    @property
    def is_full(self) -> bool:
        return len(self._displays) == self.chunk_frames

    @property
    def is_empty(self) -> bool:
        return not self._displays

    def add(self, frame: StreamedFrame) -> None:
        if self._stored is None:
            self._stored = empty_frames((self.chunk_frames, 1, self.start.rows, self.start.columns), self.start.dtype)
        self._stored[len(self._displays), 0] = frame.stored
        self._displays.append(frame.display)

    def take(self) -> FrameChunk:
        if self._stored is None:
            raise LookupError("there is no frame to take")
        number = len(self._displays)
        chunk = FrameChunk(
            first=self.first,
            expected=max(self.start.num_frames, self.first + number),
            stored=self._stored[:number],
            displays=as_displays(self._displays, self._stored.dtype),
            pixel_aspect=self.start.pixel_aspect,
            has_spacing=self.start.has_spacing,
        )
        if self.start.is_film:
            self.repeats.add(chunk.sample(self.repeats.step))
        self.first += number
        self._forget()
        return chunk


def _with_warnings(clip: Clip, repeats: RepeatCounter) -> Clip:
    return replace(clip, warnings=tuple(dict.fromkeys([*clip.warnings, *repeats.warnings()])))
