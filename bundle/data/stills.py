"""PNG, JPEG and TIFF: one picture is a clip of one frame, a folder or a TIFF of many pages a clip of many."""

import struct
import warnings as python_warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffTags

from bundle.data.clip import Clip, ClipShape, FrameOrigin, UnreadableStudyError, check_frame, damage_refused
from bundle.data.frame_stream import ClipStart, FrameStream, PassedFrames, StreamedFrame

PILLOW_FORMATS = ("PNG", "JPEG", "TIFF")  # of Pillow: it would open anything else too
GRAY_MODES = ("L", "I;16", "I;16B", "I")  # Pillow's, of 8 and 16 bits; others are turned to RGB
GRAY_TOLERANCE = 8  # of 255: JPEG moves the channels of a gray capture apart by a few values
TAG_OF = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}
SIGNATURE_BYTES = 8
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type, PNG 11.2.2
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step and column step of each pass of an interlaced PNG (8.2)."""
MINISWHITE, UNSIGNED = 0, 1  # TIFF 6.0: PhotometricInterpretation (262), SampleFormat (339)


def stream_stills(paths: Sequence[Path], name: str, warnings: Sequence[str] = ()) -> FrameStream:
    """Pictures of one size as the frames of one clip, in the order given, upright as EXIF says."""
    shape = probe_stills(paths)
    dtype = np.dtype(np.float32)
    yield ClipStart(paths[0], *shape, dtype, is_film=False)
    notes: dict[str, None] = dict.fromkeys(warnings)  # each once, in their order
    origin: list[FrameOrigin] = []
    for path in paths:
        found: list[str] = []
        for index, frame in enumerate(_read_pages(path, found)):
            if frame.shape != (shape.rows, shape.columns):
                raise UnreadableStudyError(
                    path,
                    f"{frame.shape[0]} x {frame.shape[1]} pixels, but '{paths[0].name}' of the same clip has "
                    f"{shape.rows} x {shape.columns}: a clip needs frames of one size",
                )
            origin.append(FrameOrigin(path, index))
            yield StreamedFrame(frame)
        notes |= dict.fromkeys(found)
    return Clip(
        stored=PassedFrames((len(origin), 1, shape.rows, shape.columns), dtype),
        frame_times_ms=None,
        pixel_spacing_mm=None,
        spacing_source="none",
        origin=tuple(origin),
        warnings=tuple(notes),
        name=name,
    )


def _probe(path: Path) -> ClipShape:
    """Size of one file, from its header; a TIFF may have many pages."""
    with _open(path) as picture:
        rows, columns = picture.height, picture.width
        if picture.format != "TIFF" and _orientation(picture) >= 5:  # Pillow turns a TIFF's size itself
            rows, columns = columns, rows
        shape = ClipShape(_num_pages(path, picture), rows, columns)
    check_frame(path, *shape)
    return shape


def probe_stills(paths: Sequence[Path]) -> ClipShape:
    """Size of the clip that files make together, from the first one's header; of several none may have many pages."""
    first = _probe(paths[0])
    if len(paths) == 1:
        return first
    for path in paths:
        if path.suffix.lower().startswith(".tif") and _probe(path).num_frames > 1:
            raise UnreadableStudyError(path, f"is a clip of its own among {len(paths)} files: name it alone")
    return ClipShape(len(paths), first.rows, first.columns)


def luminance(rgb: np.ndarray) -> np.ndarray:  # (H, W, 3) -> (H, W)
    """Weighted sum of red, green and blue, ITU-R BT.601; equal channels give their value."""
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def color_warning(share: float) -> str:
    """Words for a frame of which this share of pixels is not gray; empty for none."""
    return f"colored pixels (up to {100 * share:.1f} %) were turned to gray by their luminance" if share else ""


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    with path.open("rb") as file:  # by its name Pillow maps an uncompressed TIFF, and scrambles one that it turns
        try:
            with python_warnings.catch_warnings():
                python_warnings.simplefilter("ignore")  # of large pictures, on which check_frame decides, and of damage
                picture = Image.open(file, formats=PILLOW_FORMATS)
        except Image.DecompressionBombError:
            limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
            raise UnreadableStudyError(path, f"the header says more than {limit} million pixels") from None
        except Exception as error:  # Pillow leaks OSError, SyntaxError, ValueError, struct.error and others
            raise UnreadableStudyError(path, f"no PNG, JPEG or TIFF in it ({type(error).__name__})") from error
        yield picture


def _num_pages(path: Path, picture: Image.Image) -> int:
    if picture.format != "TIFF":
        return 1
    with damage_refused(path, "its pages are damaged or cut off ({})"):
        return int(getattr(picture, "n_frames", 1))


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation (CIPA DC-008, 0x0112): 1 is upright, from 5 on rows and columns are exchanged."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF is as good as none: pixels do not depend on it
        return 1
    return value if value in range(1, 9) else 1


def _read_pages(path: Path, notes: list[str]) -> Iterator[np.ndarray]:  # (H, W) in [0, 1]
    with _open(path) as picture:
        num_pages = _num_pages(path, picture)
        if picture.format != "TIFF" and getattr(picture, "n_frames", 1) > 1:
            notes.append("more than one picture in it: the first is read")
        for index in range(num_pages):
            with damage_refused(path, "its pixels are damaged or cut off ({})"):
                picture.seek(index)
                check_frame(path, 1, picture.height, picture.width)
                gray = _to_gray(path, picture, notes)
                if picture.format == "PNG" and not gray[-1].any():
                    check_png_rows(path)  # Pillow leaves rows that are not there black
                yield gray


def _to_gray(path: Path, picture: Image.Image, notes: list[str]) -> np.ndarray:
    orientation = _orientation(picture)
    full_scale, is_inverted = _gray_scale(path, picture)
    picture.load()  # turns a TIFF
    upright = picture if picture.format == "TIFF" else ImageOps.exif_transpose(picture)
    if orientation != 1:
        notes.append(f"turned upright, as EXIF orientation {orientation} asks")
    if full_scale:
        values = np.asarray(upright)
        if full_scale == 65535 and 0 < values.max() < 4096:
            notes.append(
                "16-bit pictures use at most 12 of their bits and will look dark; rescale them if 4095 means white"
            )
        gray = values.astype(np.float32) / np.float32(full_scale)
        return 1 - gray if is_inverted else gray
    if _is_transparent(upright):
        notes.append("transparent pixels are shown as stored")
    rgb = np.asarray(upright.convert("RGB"))
    colored = float((np.ptp(rgb.astype(np.int16), axis=-1) > GRAY_TOLERANCE).mean())
    notes += [color_warning(colored)] if colored else []
    return luminance(rgb) / np.float32(255)


def _gray_scale(path: Path, picture: Image.Image) -> tuple[int, bool]:
    """Value of white (0 for a color picture), and whether white is stored as 0 where Pillow leaves it so."""
    is_gray = picture.mode in GRAY_MODES
    if picture.format != "TIFF":
        return (255 if picture.mode == "L" else 65535) if is_gray else 0, False
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(TAG_OF["BitsPerSample"], (1,))[0]
    sample_format = tags.get(TAG_OF["SampleFormat"], (UNSIGNED,))[0]
    if sample_format != UNSIGNED or bits > 16:
        raise UnreadableStudyError(
            path, f"its values must be whole, without a sign, of at most 16 bits, got {bits} bits, mode {picture.mode}"
        )
    if not is_gray or picture.mode == "L":  # Pillow scales and inverts these itself
        return 255 if is_gray else 0, False
    return 2**bits - 1, tags.get(TAG_OF["PhotometricInterpretation"]) == MINISWHITE


def _is_transparent(picture: Image.Image) -> bool:
    if "A" not in picture.getbands():
        return "transparency" in picture.info
    return np.asarray(picture.getchannel("A")).min() < 255


def check_png_rows(path: Path) -> None:
    """Refuse a PNG without all its rows, by its inflated bytes: decoders fill up with black what is missing."""
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
    columns, rows, bits, color_type, _, _, is_interlaced = struct.unpack(">IIBBBBB", header)
    passes = ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    total = 0
    for first_row, first_column, row_step, column_step in passes:
        width = -(-(columns - first_column) // column_step)
        height = -(-(rows - first_row) // row_step)
        if width > 0 and height > 0:
            total += height * (1 + -(-width * bits * SAMPLES[color_type] // 8))  # a filter byte begins each row
    return total


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        file.seek(SIGNATURE_BYTES)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            yield name, file.read(length)
            file.read(4)  # checksum
