"""Ways to damage a file, each drawn from a generator."""

import gzip
import zlib
from collections.abc import Callable

import numpy as np

PIXEL_DATA_TAGS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # little and big endian
DICOM_META_START = 132
GZIP_START = b"\x1f\x8b"
HEADER_BYTES = 1024  # of a file that is not DICOM; MP4 and Matroska keep more of it at the end
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2_000_000_000)


def damage(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Damage a file once or a few times.

    Half of the deflated files are damaged inside: bytes of the stream itself seldom get past its checksum.

    Returns:
        Other content, and the names of what was done.
    """
    if rng.random() < 0.5:
        if content.startswith(GZIP_START):
            inner, done = _damage_plain(gzip.decompress(content), rng)
            return gzip.compress(inner, mtime=0), f"inside gzip: {done}"
        start = _deflated_start(content)
        if start:
            inner, done = _damage_plain(zlib.decompress(content[start:], wbits=-15), rng)
            packer = zlib.compressobj(wbits=-15)
            return content[:start] + packer.compress(inner) + packer.flush(), f"inside deflate: {done}"
    return _damage_plain(content, rng)


def _damage_plain(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    names = []
    damaged = bytearray(content)
    for _ in range(1 + int(rng.random() < 0.3)):
        name, change = DAMAGES[rng.integers(len(DAMAGES))]
        names.append(name)
        change(damaged, rng)
    return bytes(damaged), ", ".join(names)


def _deflated_start(content: bytes) -> int:
    """Where the deflated data set of a DICOM file begins, behind its meta header; 0 if it is not deflated."""
    if content[128:DICOM_META_START] != b"DICM" or b"1.2.840.10008.1.2.1.99" not in content[:400]:
        return 0
    group_length = int.from_bytes(content[140:144], "little")  # value of (0002,0000), the first element
    return DICOM_META_START + 12 + group_length


def _header_end(content: bytearray) -> int:
    pixels = max(content.find(tag) for tag in PIXEL_DATA_TAGS)
    return pixels + 12 if pixels > 0 else min(HEADER_BYTES, len(content))


def _position(content: bytearray, rng: np.random.Generator) -> int:
    """A place in the header, one time in four counted from the end."""
    end = max(1, _header_end(content))
    place = int(rng.integers(end))
    return len(content) - 1 - min(place, len(content) - 1) if rng.random() < 0.25 else place


def _change_header(content: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 20)):
        if content:
            content[_position(content, rng)] = rng.integers(256)


def _change_pixels(content: bytearray, rng: np.random.Generator) -> None:
    start = min(_header_end(content), len(content) - 1)
    for _ in range(rng.integers(1, 40)):
        if content:
            content[rng.integers(start, len(content))] = rng.integers(256)


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content) + 1) :]


def _insert(content: bytearray, rng: np.random.Generator) -> None:
    place = _position(content, rng) if rng.random() < 0.5 and content else int(rng.integers(len(content) + 1))
    content[place:place] = rng.bytes(int(rng.integers(1, 64)))


def _remove(content: bytearray, rng: np.random.Generator) -> None:
    place = int(rng.integers(len(content) + 1))
    del content[place : place + int(rng.integers(1, 64))]


def _swap(content: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice([2, 4, 8, 16]))
    first, second = sorted(2 * (int(place) // 2) for place in rng.integers(_header_end(content) + 1, size=2))
    if second >= first + width and second + width <= len(content):
        one, other = content[first : first + width], content[second : second + width]
        content[first : first + width], content[second : second + width] = other, one


def _write_extreme(content: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice([1, 2, 4, 8]))
    value = int(rng.choice(EXTREMES)) % 256**width
    place = _position(content, rng) if content else 0
    number = value.to_bytes(width, "little" if rng.random() < 0.5 else "big")
    content[place : place + width] = number


def _repeat(content: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(content) + 1))
    block = content[start : start + int(rng.integers(1, 512))]
    content[start:start] = block


DAMAGES: tuple[tuple[str, Callable[[bytearray, np.random.Generator], None]], ...] = (
    ("header bytes", _change_header),
    ("pixel bytes", _change_pixels),
    ("cut", _cut),
    ("inserted", _insert),
    ("removed", _remove),
    ("swapped fields", _swap),
    ("extreme number", _write_extreme),
    ("repeated", _repeat),
)
