"""Rows and columns that a compressed frame states itself (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2, 15444-1 A.5.1)."""

import struct

START_OF_JPEG = b"\xff\xd8"
START_OF_JPEG_2000 = b"\xff\x4f\xff\x51"
START_OF_JP2_FILE = b"\x00\x00\x00\x0cjP  "  # not allowed in DICOM, but found
FRAME_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}  # baseline, extended, progressive, lossless; JPEG-LS
MARKERS_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


def codestream_size(encoded: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 code stream; None where it states none.

    Decoders return a frame of rows x columns as one run of bytes, so 3 x 4 pixels would pass for 4 x 3.
    """
    if encoded.startswith(START_OF_JPEG_2000) and len(encoded) >= 24:
        right, bottom, left, top = struct.unpack_from(">IIII", encoded, 8)
        return bottom - top, right - left
    return _jpeg_size(encoded) if encoded.startswith(START_OF_JPEG) else None


def starts_code_stream(fragment: bytes) -> bool:
    """Whether a fragment is the first of a frame in JPEG, JPEG-LS or JPEG 2000."""
    return fragment.startswith((START_OF_JPEG, START_OF_JPEG_2000, START_OF_JP2_FILE))


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    position = len(START_OF_JPEG)
    while position + 9 <= len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker in FRAME_MARKERS:
            rows, columns = struct.unpack_from(">HH", encoded, position + 5)
            return rows, columns
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in MARKERS_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", encoded, position + 2)[0]
    return None
