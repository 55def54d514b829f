"""Look-up tables of a DICOM header: modality and VOI LUT (PS3.3 C.11), palettes (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

BYTE = 255
COLOURS = ("Red", "Green", "Blue")


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
    """Colours ``(n, 3)`` of ``bits`` bits, the first one for the stored value ``first``."""

    first: int
    bits: int
    colours: np.ndarray

    def look_up(self, stored: np.ndarray) -> np.ndarray:  # (H, W) -> (H, W, 3)
        """Colours of stored values; the first or last one for what lies outside."""
        return self.colours[places(stored, self.first, len(self.colours))]


def read_lut(sequence: Any, is_signed: bool, warnings: list[str]) -> Lut | None:
    """The first item of a Modality or VOI LUT Sequence; None if there is none.

    Raises:
        ValueError: If it has fewer entries than it states, or states other than 8 to 16 bits.
    """
    if not sequence:
        return None
    num_entries, first, bits = _descriptor(sequence[0].LUTDescriptor)
    if not 8 <= bits <= 16:
        raise ValueError(f"LUTDescriptor must state entries of 8 to 16 bits, got {bits}")
    entries = _entries(sequence[0].LUTData, num_entries, is_little_endian=True)
    first = first - 2**16 if is_signed and first >= 2**15 else first
    return Lut(first, true_bits(bits, entries, warnings), tuple(entries.tolist()))


def read_palette(dataset: Dataset, warnings: list[str]) -> Palette:
    """The palette of a PALETTE COLOR image.

    Raises:
        ValueError: If it has fewer entries than it states.
    """
    num_entries, first, bits = _descriptor(dataset.RedPaletteColorLookupTableDescriptor)
    if "RedPaletteColorLookupTableData" in dataset:
        is_little_endian = dataset.original_encoding[1] is not False
        data = (dataset[f"{colour}PaletteColorLookupTableData"].value for colour in COLOURS)
        colours = np.stack([_entries(table, num_entries, is_little_endian) for table in data], axis=-1)
    else:  # in segments (PS3.3 C.7.9.2)
        colours = apply_color_lut(np.arange(first, first + num_entries), dataset)[..., :3]
    return Palette(first, true_bits(bits, colours, warnings), colours)


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
