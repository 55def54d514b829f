"""From stored values to display values, in the order of PS3.3 C.11: modality LUT, VOI LUT, MONOCHROME1.

A stored value has 8 or 16 bits, so the whole chain is worked out once for each value that there can be, in float64,
and a frame is mapped by one look-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from bundle.data.clip import DISPLAY_WINDOW_PERCENT
from bundle.data.dicom_header import find, functional_groups
from bundle.data.stills import GRAY_TOLERANCE, color_warning, luminance

COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")


BYTE = 255
PALETTE_COLORS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class Lut:
    """A look-up table: the first value that it maps, the bits of its output, and its entries."""

    first: int
    bits: int
    entries: tuple[int, ...]

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Entries for whole numbers; the first or last one for what lies outside."""
        return np.array(self.entries)[places(values, self.first, len(self.entries))]


@dataclass(frozen=True, eq=False)
class Palette:
    """Colors ``(n, 3)`` of ``bits`` bits, the first one for the stored value ``first``."""

    first: int
    bits: int
    colors: np.ndarray

    def look_up(self, stored: np.ndarray) -> np.ndarray:  # (H, W) -> (H, W, 3)
        """Colors of stored values; the first or last one for what lies outside."""
        return self.colors[places(stored, self.first, len(self.colors))]


def read_lut(sequence: Any, is_signed: bool, warnings: list[str]) -> Lut | None:
    """The first item of a Modality or VOI LUT Sequence, whose entries have 8 to 16 bits; None if there is none."""
    if not sequence:
        return None
    num_entries, first, bits = _descriptor(sequence[0].LUTDescriptor)
    if not 8 <= bits <= 16:
        raise ValueError(f"LUTDescriptor must state entries of 8 to 16 bits, got {bits}")
    entries = _entries(sequence[0].LUTData, num_entries, is_little_endian=True)
    first = first - 2**16 if is_signed and first >= 2**15 else first
    return Lut(first, true_bits(bits, entries, warnings), tuple(entries.tolist()))


def read_palette(dataset: Dataset, warnings: list[str]) -> Palette:
    """The palette of a PALETTE COLOR image."""
    num_entries, first, bits = _descriptor(dataset.RedPaletteColorLookupTableDescriptor)
    if "RedPaletteColorLookupTableData" in dataset:
        is_little_endian = dataset.original_encoding[1] is not False
        data = (dataset[f"{color}PaletteColorLookupTableData"].value for color in PALETTE_COLORS)
        colors = np.stack([_entries(table, num_entries, is_little_endian) for table in data], axis=-1)
    else:  # in segments (PS3.3 C.7.9.2)
        colors = apply_color_lut(np.arange(first, first + num_entries), dataset)[..., :3]
    return Palette(first, true_bits(bits, colors, warnings), colors)


def places(values: np.ndarray, first: int, num_entries: int) -> np.ndarray:
    """Where in a table values are mapped."""
    return np.clip(values.astype(np.int64) - first, 0, num_entries - 1)


def true_bits(stated: int, entries: np.ndarray, warnings: list[str]) -> int:
    """Bits of a table's entries; a warning where the descriptor states others than the entries can have.

    Old machines write entries of 8 bits under a descriptor of 16, packed or one to a word, and the reverse: as stated
    such a film would be black, or white.
    """
    highest = int(entries.max())
    found = 8 if highest <= BYTE else max(stated, highest.bit_length())
    if found != stated:
        words = f"the header's look-up table states entries of {stated} bits, and has entries of {found}"
        warnings.append(f"{words}: taken as {found}")
    return found


def _descriptor(value: Sequence[Any]) -> tuple[int, int, int]:
    num_entries, first, bits = (int(number) for number in value)
    return num_entries or 2**16, first, bits


def _entries(data: Any, num_entries: int, is_little_endian: bool) -> np.ndarray:
    """Entries of 16 bits, or two of 8 bits in each word, the first one low."""
    order = "<" if is_little_endian else ">"
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")
    else:
        words = np.atleast_1d(np.array(data, np.uint16))
    entries = words if len(words) >= num_entries else words.astype("<u2").view(np.uint8)
    if len(entries) < num_entries:
        raise ValueError(f"a look-up table must have its {num_entries} entries of 8 or 16 bits, got {len(entries)}")
    return entries[:num_entries]


@dataclass(frozen=True)
class GraySteps:
    """What a header says about one frame's grayscale."""

    dtype: str  # Type of a stored value: "u1", "i1", "u2" or "i2"
    slope: float = 1.0  # Rescale Slope
    intercept: float = 0.0  # Rescale Intercept
    modality_lut: Lut | None = None  # Goes before slope and intercept
    voi_lut: Lut | None = None  # Goes before the window
    window: tuple[float, float, str] | None = None  # Center, width and function; None if not stated
    is_inverted: bool = False  # MONOCHROME1: the lowest value is white
    padding: tuple[int, int] | None = None  # Lowest and highest stored value that is no image

    @property
    def has_window(self) -> bool:
        return self.voi_lut is not None or self.window is not None


def gray_steps(dataset: Dataset, dtype: np.dtype, warnings: list[str], frame: int = 0) -> GraySteps:
    """Read the steps of one frame from the header; a ``ValueError`` says what is wrong in it."""
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(
            f"PhotometricInterpretation must be MONOCHROME1, MONOCHROME2, {', '.join(COLOR)}, got '{photometric}'"
        )
    is_inverted = photometric == "MONOCHROME1"
    shape = dataset.get("PresentationLUTShape")
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != is_inverted:
        warnings.append(f"PresentationLUTShape {shape} contradicts {photometric}: the latter is used")
    intercept = float(_given(find(dataset, "RescaleIntercept", frame), 0.0))
    return GraySteps(
        dtype=f"{dtype.kind}{dtype.itemsize}",
        slope=float(_given(find(dataset, "RescaleSlope", frame), 1.0)),
        intercept=intercept,
        modality_lut=read_lut(find(dataset, "ModalityLUTSequence", frame), dtype.kind == "i", []),
        voi_lut=read_lut(find(dataset, "VOILUTSequence", frame), dtype.kind == "i" or intercept < 0, warnings),
        window=_window(dataset, frame),
        is_inverted=is_inverted,
        padding=_padding(dataset),
    )


def varies_by_frame(dataset: Dataset) -> bool:
    """Whether an enhanced object has grayscales of its own for every frame."""
    first = functional_groups(dataset, 0)[:1] if dataset.get("PerFrameFunctionalGroupsSequence") else []
    return any("FrameVOILUTSequence" in group or "PixelValueTransformationSequence" in group for group in first)


@lru_cache(maxsize=16)
def display_table(steps: GraySteps, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Display value, float32 in [0, 1], of every stored value, in the order of the values' unsigned bit patterns.

    Where the header has no window, the modality values ``limits`` become 0 and 1. For errors, see ``window``.
    """
    values = modality_values(steps)
    if limits is not None:
        table = _ramp(values, *limits)
    elif steps.voi_lut is not None:
        table = steps.voi_lut.look_up(np.floor(values)) / (2.0**steps.voi_lut.bits - 1.0)
    else:
        table = window(values, *(steps.window or (0.0, 1.0, "LINEAR")))
    table = np.clip(1.0 - table if steps.is_inverted else table, 0.0, 1.0)
    table[is_padding(steps)] = 0.0
    table.flags.writeable = False
    return table.astype(np.float32)


def modality_values(steps: GraySteps) -> np.ndarray:
    """Value after the modality LUT, float64, of every stored value, in the order of the unsigned bit patterns."""
    stored = _stored_values(steps)
    if steps.modality_lut is not None:
        return steps.modality_lut.look_up(stored).astype(np.float64)
    return stored * steps.slope + steps.intercept


def is_padding(steps: GraySteps) -> np.ndarray:
    """Whether a stored value is Pixel Padding (PS3.3 C.7.5.1.1.2), in the order of the unsigned bit patterns."""
    stored = _stored_values(steps)
    low, high = steps.padding or (1, 0)
    return (stored >= low) & (stored <= high)


def percentile_limits(steps: GraySteps, counts: np.ndarray) -> tuple[float, float]:
    """Percentiles 0.5 and 99.5 of modality values, from how often each stored value occurs; padding is left out."""
    values = modality_values(steps)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(np.where(is_padding(steps), 0, counts)[order])
    ranks = np.array(DISPLAY_WINDOW_PERCENT) / 100.0 * cumulative[-1]
    lower, upper = values[order[np.minimum(np.searchsorted(cumulative, ranks), len(order) - 1)]]
    return float(lower), float(upper)


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Apply a VOI window, PS3.3 C.11.2.1.2 and C.11.2.1.3, to [0, 1].

    Raises:
        ValueError: If the width is not positive (for LINEAR: below 1), or the function is unknown.
    """
    if not width > 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"WindowWidth must be at least 1 for LINEAR and positive otherwise, got {width:g}")
    if function == "LINEAR":
        half = (width - 1.0) / 2.0
        return _ramp(values, center - 0.5 - half, center - 0.5 + half)
    if function == "LINEAR_EXACT":
        return _ramp(values, center - width / 2.0, center + width / 2.0)
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -500.0, 500.0)))
    raise ValueError(f"VOILUTFunction must be LINEAR, LINEAR_EXACT or SIGMOID, got '{function}'")


def color_to_gray(frame: np.ndarray, bits: int, warnings: list[str]) -> np.ndarray:  # (H, W, 3) -> (H, W)
    """Luminance of a color capture of so many bits, float32 in [0, 1]; a warning unless red, green and blue agree."""
    tolerance = GRAY_TOLERANCE * 2.0 ** (bits - 8)
    colored = float((np.ptp(frame.astype(np.int32), axis=-1) > tolerance).mean())
    if colored and not any(note.startswith("colored pixels") for note in warnings):
        warnings.append(color_warning(colored))
    return np.clip(luminance(frame) / np.float32(2.0**bits - 1.0), 0.0, 1.0)


def _ramp(values: np.ndarray, lower: float, upper: float) -> np.ndarray:
    if upper > lower:
        return np.clip((values - lower) / (upper - lower), 0.0, 1.0)
    return (values > lower).astype(np.float64)


def _stored_values(steps: GraySteps) -> np.ndarray:
    dtype = np.dtype(steps.dtype)
    return np.arange(2 ** (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype).astype(np.int64)


def _window(dataset: Dataset, frame: int) -> tuple[float, float, str] | None:
    center = _first(find(dataset, "WindowCenter", frame))
    width = _first(find(dataset, "WindowWidth", frame))
    if center is None or width is None:
        return None
    return center, width, str(find(dataset, "VOILUTFunction", frame) or "LINEAR")


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    value = dataset.get("PixelPaddingValue")
    if value in (None, ""):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(_given(limit, value))))
    return low, high


def _given(value: Any, default: Any) -> Any:
    return default if value in (None, "") else value


def _first(value: Any) -> float | None:
    if value in (None, ""):
        return None
    if isinstance(value, str | int | float):
        return float(value)
    values = list(value)
    return float(values[0]) if values else None
