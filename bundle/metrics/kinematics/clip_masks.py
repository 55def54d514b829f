"""The masks of a clip by structure's name, with the sums that every measure starts from; what a measure is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from bundle.metrics.cropped import cropped
from bundle.structures import STRUCTURES


class NotComputableError(Exception):
    """Raised inside this package where a measure needs what is not there; the message reads ``needs X``."""


@dataclass(frozen=True)
class Measure:
    """One measure of one swallow."""

    name: str  # such as ``hyoid_excursion_xy``
    value: float | None  # in ``unit``; None where it is not computable
    unit: str  # ``%C2-4``, ``%(C2-4)^2``, ``%C2-4/s``, ``%``, ``ms``, ``frames``, or ``1`` for a ratio
    # 95% of errors are below this, in ``unit``, as measured for a model by ``measured_errors``; None where unknown
    uncertainty: float | None = None
    num_frames: int = 0  # number of frames that the value was taken from
    reason: str = ""  # ``not computable: needs X`` where ``value`` is None, else empty


@dataclass(frozen=True)
class SwallowMeasures:
    """All measures of one swallow."""

    measures: dict[str, Measure]  # by name; every name is always there
    events: dict[str, int]  # frame indices of the events that were found, for a look at the frames behind the numbers
    airway_frames: tuple[int, ...]  # frames with bolus in the vestibule or the trachea: for review, not a PAS score
    warnings: tuple[str, ...]  # what limits the numbers, in words
    # First frame of the film that belongs to it, and the one after the last; all indices above count from the film's
    frames: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class FilmMeasures:
    """The swallows of a film."""

    # In order of time; where no whole swallow is found, what the whole film allows, with reasons for the rest
    swallows: tuple[SwallowMeasures, ...]
    warnings: tuple[str, ...] = ()  # about the whole film, in words
    no_swallow: str = ""  # why no swallow was found, in words; empty where one was
    refusal: str = ""  # why nothing at all is measured, in words; empty where it is

    def numbered(self) -> list[tuple[int | None, SwallowMeasures]]:
        """The swallows, counted from 1; None where the entry is no whole swallow."""
        whole = not (self.refusal or self.no_swallow)
        return [(number if whole else None, swallow) for number, swallow in enumerate(self.swallows, start=1)]


Part = TypeVar("Part")
Result = tuple[float, int]  # value, number of frames


def or_none(work_out: Callable[[], Part]) -> Part | None:
    """What is worked out, or None where something is missing."""
    try:
        return work_out()
    except NotComputableError:
        return None


def attempt(name: str, unit: str, work_out: Callable[[], Result]) -> Measure:
    """Run ``work_out``; what it needs and does not find becomes the measure's reason."""
    try:
        value, num_frames = work_out()
    except NotComputableError as error:
        return Measure(name, None, unit, reason=f"not computable: {error}")
    return Measure(name, float(value), unit, num_frames=num_frames)


class MaskFrames(Protocol):
    """Masks ``(T, S, H, W)``, 0 or 1: an array, or what gives a frame at a time, such as a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(T, S, H, W)``."""

    @property
    def dtype(self) -> np.dtype:
        """Of a pixel."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, index: Any, /) -> Any:
        """``[t]`` is a frame ``(S, H, W)``, ``[t, s]`` one structure of it."""


@dataclass(frozen=True)
class FramesOf:
    """Some consecutive frames of masks that are in a file."""

    masks: MaskFrames  # all frames
    first: int  # index of the first
    stop: int  # index after the last

    @property
    def shape(self) -> tuple[int, ...]:
        """``(T, S, H, W)``."""
        return (self.stop - self.first, *self.masks.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of a pixel."""
        return self.masks.dtype

    def __len__(self) -> int:
        return self.stop - self.first

    def __iter__(self) -> Iterator[Any]:
        return (self.masks[index] for index in range(self.first, self.stop))

    def __getitem__(self, index: Any, /) -> Any:
        frame, *rest = index if isinstance(index, tuple) else (index,)
        return self.masks[(int(frame) + self.first, *rest)]


class ClipMasks:
    """Masks and frame times of one swallow. A structure that is empty in a frame is *absent* there.

    Lengths are counted in widths of a pixel and areas in its square: right where pixels are not square. One frame is
    looked at at a time, so masks in a file are as good as an array.

    Args:
        masks: Binary masks ``(T, S, H, W)``: array, CPU tensor, or bool ``MaskFrames``.
        frame_times_ms: Time of each frame ``(T,)``, strictly increasing; None where it is unknown.
        structures: Names of the S channels.
        pixel_aspect: Height of a pixel divided by its width.

    Raises:
        ValueError: If shapes and names do not fit, values are not 0 and 1, times do not increase, or the aspect is not
            positive.
    """

    def __init__(
        self,
        masks: ArrayLike | MaskFrames,
        frame_times_ms: ArrayLike | None,
        structures: Sequence[str] = STRUCTURES,
        pixel_aspect: float = 1.0,
    ) -> None:
        if not (np.isfinite(pixel_aspect) and pixel_aspect > 0):
            raise ValueError(f"pixel_aspect must be a pixel's height over its width, above 0, got {pixel_aspect}")
        is_bool = getattr(masks, "dtype", None) == np.dtype(bool)
        self.masks: MaskFrames = _check_masks(masks if is_bool else np.asarray(masks), structures)
        self.times_ms = None if frame_times_ms is None else _check_times(frame_times_ms, len(self.masks))
        self.structures = tuple(structures)
        self.pixel_aspect = float(pixel_aspect)
        self.num_frames = len(self.masks)

    def part(self, first: int, stop: int) -> "ClipMasks":
        """The frames from ``first`` up to ``stop``; masks are not copied."""
        times = None if self.times_ms is None else self.times_ms[first:stop]
        part = ClipMasks(FramesOf(self.masks, first, stop), times, self.structures, self.pixel_aspect)
        part.__dict__["_sums"] = self._sums[first:stop]
        return part

    @property
    def frame_interval_ms(self) -> float:
        """Median time between two frames."""
        if self.times_ms is None or self.num_frames < 2:
            raise NotComputableError("needs frame times")
        return float(np.median(np.diff(self.times_ms)))

    def milliseconds(self, first: int, last: int) -> float:
        """Time from one frame to another."""
        if self.times_ms is None:
            raise NotComputableError("needs frame times")
        return float(self.times_ms[last] - self.times_ms[first])

    def mask(self, name: str, frame: int) -> np.ndarray:
        """Mask of a structure in a frame ``(H, W)`` bool; empty where the clip has no such channel."""
        if name not in self.structures:
            return np.zeros(self.masks.shape[2:], bool)
        return np.asarray(self.masks[frame, self.structures.index(name)])

    def is_present(self, *names: str) -> np.ndarray:
        """Frames ``(T,)`` that show all of the structures."""
        return np.all([self.area(name) > 0 for name in names], axis=0)

    def require(self, *names: str) -> None:
        """Raise unless each structure is there in one frame at least."""
        missing = [name for name in names if not self.is_present(name).any()]
        if missing:
            raise NotComputableError(f"needs {', '.join(missing)}")

    def area(self, name: str) -> np.ndarray:
        """Area of a structure ``(T,)``."""
        if name not in self.structures:
            return np.zeros(self.num_frames)
        return self._sums[:, self.structures.index(name), 0] * self.pixel_aspect

    def areas_of(self, part: Callable[[int], np.ndarray], frames: Iterable[int] | None = None) -> np.ndarray:
        """Areas of a part ``(H, W)`` of some frames, which is worked out frame by frame."""
        counts = [np.count_nonzero(part(frame)) for frame in (range(self.num_frames) if frames is None else frames)]
        return np.array(counts, np.int64) * self.pixel_aspect

    def centroid(self, name: str) -> np.ndarray:
        """Centroids (x, y) of a structure ``(T, 2)``, the first pixel's center at (0, 0); NaN where it is absent."""
        if name not in self.structures:
            return np.full((self.num_frames, 2), np.nan)
        sums = self._sums[:, self.structures.index(name)]
        area = np.where(sums[:, 0] > 0, sums[:, 0], np.nan)
        return sums[:, 1:] * np.array([1.0, self.pixel_aspect]) / area[:, None]

    @cached_property
    def _sums(self) -> np.ndarray:
        """Number of pixels and sums of their columns and rows, ``(T, S, 3)``."""
        sums = np.zeros((self.num_frames, len(self.structures), 3), np.int64)
        for frame in range(self.num_frames):
            for structure, part in enumerate(cropped(self.masks, frame)):
                per_column, per_row = part.pixels.sum(axis=0), part.pixels.sum(axis=1)
                along_x = per_column @ np.arange(part.left, part.left + len(per_column))
                along_y = per_row @ np.arange(part.top, part.top + len(per_row))
                sums[frame, structure] = per_row.sum(), along_x, along_y
        return sums


def _check_masks(masks: Any, structures: Sequence[str]) -> Any:
    if len(masks.shape) != 4 or masks.shape[1] != len(structures) or len(masks) == 0:
        raise ValueError(f"masks must be (T, {len(structures)}, H, W) in the order {structures}, got {masks.shape}")
    if masks.dtype == bool:
        return masks
    if not ((masks == 0) | (masks == 1)).all():
        raise ValueError(f"masks must hold 0 and 1 only, got values in [{masks.min():g}, {masks.max():g}]")
    return masks.astype(bool)


def _check_times(frame_times_ms: ArrayLike, num_frames: int) -> np.ndarray:
    times = np.asarray(frame_times_ms, float)
    if times.shape != (num_frames,):
        raise ValueError(
            f"frame_times_ms must be ({num_frames},), one per frame, got {times.shape}; unknown: pass None"
        )
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("frame_times_ms must be finite and strictly increasing; unknown: pass None")
    return times
