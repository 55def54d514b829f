"""The clip: what every reader returns and every later stage starts from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

MAX_CLIP_BYTES = 8 * 2**30
"""Largest clip that is decoded as a whole, and largest frame, counted as float32. Longer clips can be streamed."""

DISPLAY_WINDOW_PERCENT = (0.5, 99.5)
"""Shown where a file states no window, over the whole clip, so that brightness does not flicker."""


class UnreadableStudyError(ValueError):
    """A file that cannot be read as an X-ray clip. The message names the file and the reason, never a patient."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: not a readable study: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type["UnreadableStudyError"], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # so that it survives the way back from a data loader's worker


@contextmanager
def damage_refused(path: Path, reason: str = "damaged DICOM ({})") -> Iterator[None]:
    """Turn whatever libraries raise of a damaged file into one error, with its type for ``{}``, quoting no header."""
    try:
        yield
    except (UnreadableStudyError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableStudyError(path, reason.format(type(error).__name__)) from None


class NoImageError(UnreadableStudyError):
    """A sound DICOM object that holds no image, such as a report or a presentation state."""


@dataclass(frozen=True)
class FrameOrigin:
    """Where a frame was stored: a file, and the zero-based index of the frame in it."""

    path: Path
    index: int


class ClipShape(NamedTuple):
    """Size of a clip as its headers state it."""

    num_frames: int
    rows: int
    columns: int

    @property
    def num_pixels(self) -> int:
        """Of all frames."""
        return self.num_frames * self.rows * self.columns


@dataclass(frozen=True, eq=False)
class Display:
    """How a frame's stored values are shown."""

    table: np.ndarray  # Display value, float32 in [0, 1], of every stored value
    visible: np.ndarray | None = None  # Bool (H, W): the rest, behind a shutter, is shown black; None if all is visible

    def apply(self, stored: np.ndarray, step: int = 1) -> np.ndarray:
        """Display values of frames ``(..., H, W)``, of which every ``step``-th row and column is given."""
        shown = np.take(self.table, stored)
        if self.visible is not None:
            shown *= self.visible[::step, ::step]
        return shown


class StoredFrames(Protocol):
    """Frames ``(T, 1, H, W)``: an array, or what gives one frame at a time, such as a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(T, 1, H, W)``."""

    @property
    def dtype(self) -> np.dtype:
        """Of a pixel."""

    def __getitem__(self, index: Any, /) -> Any:
        """A frame ``(1, H, W)``."""


@dataclass(frozen=True, eq=False)
class Clip:
    """X-ray video, which ``frames`` and ``frame`` give as the viewer would show it.

    A clip keeps its frames as the file stores them, in a quarter or half of the memory of what is shown.

    Attributes:
        stored: ``(T, 1, H, W)``: uint8 or uint16, or float32 in [0, 1], which is shown as it is.
        frame_times_ms: ``(T,)``, float64, from the first frame; None where the source gives no timing.
        pixel_spacing_mm: Row and column spacing; None where the source gives none.
        spacing_source: Where the spacing comes from, in words; "none" where there is none.
        origin: One entry per frame.
        warnings: What a reader of the results should know about the file.
        name: File stem or folder name.
        pixel_intensity_relationship: DICOM's (0028,1040): LIN, LOG, DISP or OTHER to X-ray intensity; "" if not stated.
        pixel_aspect: Height of a pixel divided by its width; 1 where nothing is stated.
        displays: How each frame's integers are shown; without them 0 is black and the type's largest value white.
        frame_times_source: Where the times come from, in words; "none" where there are none.
    """

    stored: StoredFrames
    frame_times_ms: np.ndarray | None
    pixel_spacing_mm: tuple[float, float] | None
    spacing_source: str
    origin: tuple[FrameOrigin, ...]
    warnings: tuple[str, ...] = ()
    name: str = ""
    pixel_intensity_relationship: str = ""
    pixel_aspect: float = 1.0
    displays: tuple[Display, ...] = ()
    frame_times_source: str = "none"

    def __post_init__(self) -> None:
        shape = self.stored.shape
        if len(shape) != 4 or shape[1] != 1 or 0 in shape:
            raise ValueError(f"frames must be grayscale and not empty, (T, 1, H, W), got {shape}")
        if self.stored.dtype not in (np.uint8, np.uint16, np.float32):
            raise TypeError(f"frames must be uint8, uint16, or float32 in [0, 1], got {self.stored.dtype}")
        if len(self.origin) != shape[0]:
            raise ValueError(f"origin must have one entry for each of {shape[0]} frames, got {len(self.origin)}")
        if self.frame_times_ms is not None and self.frame_times_ms.shape != (shape[0],):
            raise ValueError(f"frame_times_ms must be ({shape[0]},), got {self.frame_times_ms.shape}")
        if self.displays and (len(self.displays) != shape[0] or self.stored.dtype == np.float32):
            raise ValueError(
                f"displays must be one for each of {shape[0]} frames of integers, got {len(self.displays)}"
            )
        check_aspect(self.pixel_aspect)

    @property
    def num_frames(self) -> int:
        return int(self.stored.shape[0])

    @property
    def shape(self) -> ClipShape:
        """Number of frames, rows and columns."""
        return ClipShape(self.num_frames, *self.stored.shape[2:])

    @cached_property
    def frames(self) -> np.ndarray:
        """All frames as shown, ``(T, 1, H, W)``, float32 in [0, 1]; made at first use, then kept."""
        if isinstance(self.stored, np.ndarray) and self.stored.dtype == np.float32:
            return self.stored
        shown = np.empty(self.stored.shape, np.float32)
        for index in range(self.num_frames):
            shown[index] = self.frame(index)
        return shown

    def frame(self, index: int) -> np.ndarray:
        """One frame as shown, ``(1, H, W)``, float32 in [0, 1]."""
        stored = self.stored[index]
        return self.displays[index].apply(stored) if self.displays else full_scale(stored)

    def picture(self, index: int) -> np.ndarray:
        """One frame as shown, ``(H, W)``, uint8."""
        is_one = self.stored.dtype == np.uint8 and not self.displays
        return self.stored[index][0] if is_one else as_picture(self.frame(index)[0])

    def sample(self, step: int) -> np.ndarray:
        """Every ``step``-th row and column of all frames as shown, ``(T, ceil(H / step), ceil(W / step))``."""
        return show(self.stored[:, 0, ::step, ::step], self.displays, step)


def show(stored: np.ndarray, displays: Sequence[Display], step: int = 1) -> np.ndarray:
    """Display values of frames ``(T, ..., H, W)``, of which every ``step``-th row and column is given."""
    if not displays:
        return full_scale(stored)
    if all(display is displays[0] for display in displays):
        return displays[0].apply(stored, step)
    return np.stack([display.apply(frame, step) for display, frame in zip(displays, stored, strict=True)])


def full_scale(stored: np.ndarray) -> np.ndarray:
    """Integers with 0 as black and the type's largest value as white; float32 as it is."""
    shown = stored.astype(np.float32)
    return shown if stored.dtype == np.float32 else shown / np.float32(np.iinfo(stored.dtype).max)


def as_picture(shown: np.ndarray) -> np.ndarray:
    """Display values in [0, 1] as 256 grays, uint8."""
    values = np.clip(shown * np.float32(255), 0, 255)
    return np.rint(values, out=values).astype(np.uint8)


def as_displays(displays: Sequence[Display | None], dtype: np.dtype) -> tuple[Display, ...]:
    """One display for each frame, where None stands for the full scale; empty where all are at full scale."""
    if all(display is None for display in displays):
        return ()
    full = Display(full_scale(np.arange(np.iinfo(dtype).max + 1, dtype=dtype)))
    return tuple(full if display is None else display for display in displays)


def check_frame(path: Path, num_frames: int, rows: int, columns: int) -> None:
    """As ``check_size``, but of a single frame, for clips that are streamed."""
    if min(num_frames, rows, columns) < 1 or 4 * rows * columns > MAX_CLIP_BYTES:
        check_size(path, num_frames, rows, columns)


def check_aspect(pixel_aspect: float | None) -> None:
    """Refuse what cannot be the shape of a pixel; None is not stated."""
    if pixel_aspect is not None and not 0 < pixel_aspect < float("inf"):
        raise ValueError(f"pixel_aspect must be a pixel's height divided by its width, above 0, got {pixel_aspect}")


def check_size(path: Path, num_frames: int, rows: int, columns: int) -> None:
    """Refuse, before decoding, what has no positive size, or would exceed ``MAX_CLIP_BYTES`` as float32."""
    if min(num_frames, rows, columns) < 1:
        raise UnreadableStudyError(path, f"the header says {num_frames} frames of {rows} x {columns} pixels")
    num_bytes = 4 * num_frames * rows * columns
    if num_bytes > MAX_CLIP_BYTES:
        raise UnreadableStudyError(
            path,
            f"the header says {num_frames} frames of {rows} x {columns} pixels, {num_bytes / 2**30:.0f} GiB decoded; "
            f"the limit is {MAX_CLIP_BYTES / 2**30:.0f} GiB: the header is damaged, or the clip must be cut first",
        )


def apply_limits(frames: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Map ``lower`` to 0 and ``upper`` to 1 and clip; a clip of one value only becomes 0."""
    if upper <= lower:
        return np.zeros(frames.shape, np.float32)
    scaled = (frames.astype(np.float32) - np.float32(lower)) / np.float32(upper - lower)
    return np.clip(scaled, 0.0, 1.0, out=scaled)
