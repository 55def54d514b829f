"""Whether a PNG holds all its rows: decoders fill up with black what a shortened stream leaves out."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from bundle.data.clip import UnreadableStudyError

SIGNATURE_BYTES = 8
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type, PNG 11.2.2
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step and column step of each pass of an interlaced picture, PNG 8.2."""


def check_png_rows(path: Path) -> None:
    """Inflate the pixels and count their bytes.

    Raises:
        UnreadableStudyError: If there are fewer than the header says.
    """
    stated, inflated = 0, 0
    stream = zlib.decompressobj()
    for name, content in _chunks(path):
        if name == b"IHDR":
            stated = _num_bytes(content)
        elif name == b"IDAT" and inflated < stated:
            inflated += len(stream.decompress(content, stated - inflated))
    if inflated < stated:
        raise UnreadableStudyError(path, f"its pixels are cut off: {inflated} of {stated} bytes are there")


def _num_bytes(header: bytes) -> int:
    columns, rows, bits, colour_type, _, _, is_interlaced = struct.unpack(">IIBBBBB", header)
    passes = ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    total = 0
    for first_row, first_column, row_step, column_step in passes:
        width = -(-(columns - first_column) // column_step)
        height = -(-(rows - first_row) // row_step)
        if width > 0 and height > 0:
            total += height * (1 + -(-width * bits * SAMPLES[colour_type] // 8))  # a filter byte begins each row
    return total


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        file.seek(SIGNATURE_BYTES)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            yield name, file.read(length)
            file.read(4)  # checksum
