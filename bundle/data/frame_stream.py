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


class ClipStart(NamedTuple):
    """A clip begins; whatever came before is to be forgotten."""

    path: Path  # The file, for errors
    num_frames: int  # How many frames are expected; there may be fewer or more
    rows: int
    columns: int
    dtype: np.dtype
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


class RepeatCounter:
    """Counts frames ``(rows, columns)`` that repeat the one before, as of a capture at twice the pulse rate.

    Every ``step``-th row and column is looked at.
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

    def added_to(self, clip: Clip) -> Clip:
        """The clip, with a warning where at least a fifth of ten frames or more repeat the one before."""
        warnings = list(clip.warnings)
        if self._num_frames >= FEWEST_FRAMES and self._repeats >= REPEATED_SHARE * self._num_frames:
            share = f"{self._repeats} of {self._num_frames} frames"
            warnings.append(f"{share} repeat the one before: the pulse rate was below the frame rate")
        return replace(clip, warnings=tuple(dict.fromkeys(warnings)))


class _Parts:
    """A stream's items, and afterwards the clip that it returned."""

    clip: Clip

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[ClipStart | StreamedFrame]:
        self.clip = yield from self._stream


def collect_clip(stream: FrameStream) -> Clip:
    """The whole clip, in memory, of ``MAX_CLIP_BYTES`` at most."""
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
    return repeats.added_to(clip)


def chunked(stream: FrameStream, chunk_frames: int) -> Iterator[FrameChunk | Clip]:
    """The same in chunks, and the clip without its frames at the end; no more than a chunk is held.

    The stream's frames must say at once how they are shown.
    """
    first, repeats = 0, RepeatCounter(1, 1)
    pages: list[np.ndarray] = []  # one array or none: asked for when it is needed, see DecodeWorker.stream
    displays: list[Display | None] = []

    def take(start: ClipStart) -> FrameChunk:
        nonlocal first
        number, stored = len(displays), pages.pop()
        shown, expected = as_displays(displays, stored.dtype), max(start.num_frames, first + number)
        chunk = FrameChunk(first, expected, stored[:number], shown, start.pixel_aspect, start.has_spacing)
        if start.is_film:
            repeats.add(chunk.sample(repeats.step))
        first += number
        displays.clear()
        return chunk

    for item in (parts := _Parts(stream)):
        if isinstance(item, ClipStart):
            start, first, repeats = item, 0, RepeatCounter(item.rows, item.columns)
            pages.clear()
            displays.clear()
            continue
        if not pages:
            pages.append(empty_frames((chunk_frames, 1, start.rows, start.columns), start.dtype))
        pages[0][len(displays), 0] = item.stored
        displays.append(item.display)
        if len(displays) == chunk_frames:
            yield take(start)
    if displays:
        yield take(start)
    yield repeats.added_to(parts.clip)
