"""DICOM pixel data to stored values, frame by frame: one function for each way of decoding (PS3.5 8 and A.4)."""

import struct
import warnings as python_warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.pixels import iter_pixels

from bundle.data.clip import ClipShape, UnreadableStudyError
from bundle.data.dicom_files import first_line, refuse_size

PYDICOM_PLUGINS = {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pillow",
    uid.JPEG2000: "pillow",
}
HIGH_THROUGHPUT = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)


def decode_frames(path: Path, dataset: Dataset, shape: ClipShape, warnings: list[str]) -> Iterator[np.ndarray]:
    """Yield as many frames as the header says: stored values ``(H, W)`` in the header's type, or RGB ``(H, W, 3)``.

    Bits outside Bits Stored, which old files use for overlays, are cleared.

    Raises:
        UnreadableStudyError: If a frame is missing, damaged, of another size than the header says, or in a syntax
            without a decoder.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    dtype = stored_dtype(path, dataset)
    index = 0
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # pydicom's; ours are in the clip
            decode = _decoder(path, dataset)
            num_stored = _count_frames(path, dataset, shape, warnings)
            for frame in decode(dataset, num_stored):
                if frame.shape[:2] != (shape.rows, shape.columns):
                    refuse_size(path, (shape.rows, shape.columns), frame.shape[:2])
                yield frame if frame.ndim == 3 else frame.astype(dtype, copy=False)
                index += 1
                if index == shape.num_frames:
                    return
    except (UnreadableStudyError, MemoryError):
        raise
    except Exception as error:  # pydicom leaks AttributeError, StopIteration, TypeError and its decoders' own errors
        words = f"frame {index} in {syntax.name} cannot be decoded: {first_line(error)}"
        raise UnreadableStudyError(path, words) from None
    raise UnreadableStudyError(path, f"the header says {shape.num_frames} frames, the file has {index}")


def stored_dtype(path: Path, dataset: Dataset) -> np.dtype:
    """Type of a stored value, of 8 or 16 bits, from Bits Allocated and Pixel Representation."""
    bits = dataset.get("BitsAllocated")
    if bits not in (8, 16):
        raise UnreadableStudyError(path, f"damaged, or no X-ray: BitsAllocated must be 8 or 16, got {bits}")
    return np.dtype(f"{'i' if dataset.get('PixelRepresentation') == 1 else 'u'}{bits // 8}")


def _decoder(path: Path, dataset: Dataset) -> Callable[[Dataset, int], Iterator[np.ndarray]]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        is_gray = dataset.get("SamplesPerPixel", 1) == 1
        return _native_gray if is_gray else lambda source, _: iter_pixels(source)
    if syntax == uid.JPEGExtended12Bit:
        return _extended_jpeg
    if syntax in HIGH_THROUGHPUT:
        return _high_throughput_jpeg_2000
    plugin = PYDICOM_PLUGINS.get(syntax)
    if plugin is None:
        raise UnreadableStudyError(path, f"no decoder for its transfer syntax, {syntax.name}")
    return lambda source, num_stored: iter_pixels(source, decoding_plugin=plugin, number_of_frames=num_stored)


def _native_gray(dataset: Dataset, num_stored: int) -> Iterator[np.ndarray]:
    bits, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    above = bits - 1 - int(dataset.get("HighBit", stored - 1))
    order = "<" if dataset.original_encoding[1] is not False else ">"
    is_swapped = order == ">" and bits == 8 and dataset["PixelData"].VR == "OW"
    dtype = np.dtype(f"{'i' if dataset.PixelRepresentation else 'u'}{bits // 8}")
    size = int(dataset.Rows) * int(dataset.Columns)
    data = np.frombuffer(dataset.PixelData, np.uint8 if bits == 8 else f"{order}u2")
    if is_swapped:
        data = data[: len(data) // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
    for start in range(0, num_stored * size, size):
        frame = data[start : start + size].reshape(dataset.Rows, dataset.Columns)
        frame = frame.astype(frame.dtype.newbyteorder("="), copy=False).view(dtype)
        if above or stored < bits:
            frame = np.right_shift(np.left_shift(frame, above), bits - stored)
        yield frame


def _encoded_frames(dataset: Dataset, num_stored: int) -> Iterator[bytes]:
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return generate_frames(
        dataset.PixelData, number_of_frames=num_stored, extended_offsets=offsets if all(offsets) else None
    )


def _high_throughput_jpeg_2000(dataset: Dataset, num_stored: int) -> Iterator[np.ndarray]:
    import openjpeg

    for encoded in _encoded_frames(dataset, num_stored):
        yield openjpeg.decode(encoded)


def _extended_jpeg(dataset: Dataset, num_stored: int) -> Iterator[np.ndarray]:
    """GDCM decodes 12 bits, but pydicom does not ask it to."""
    import gdcm

    if dataset.BitsStored == 8:
        yield from iter_pixels(dataset, decoding_plugin="pillow", number_of_frames=num_stored)
        return
    for encoded in _encoded_frames(dataset, num_stored):
        fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
        fragment.SetByteStringValue(encoded)
        fragments.AddFragment(fragment)
        element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
        element.SetValue(fragments.__ref__())
        image = gdcm.Image()
        image.SetNumberOfDimensions(2)
        image.SetDimensions((dataset.Columns, dataset.Rows, 1))
        image.SetDataElement(element)
        image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
        image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
        bits = int(dataset.BitsStored)
        image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, int(dataset.PixelRepresentation)))
        content = image.GetBuffer().encode("utf-8", "surrogateescape")  # SWIG takes bytes for text
        yield np.frombuffer(content, np.uint16).reshape(dataset.Rows, dataset.Columns)


def _count_frames(path: Path, dataset: Dataset, shape: ClipShape, warnings: list[str]) -> int:
    """Number of frames that are stored, compared with the header before anything is decoded."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        stored = _count_code_streams(path, dataset, shape)
        missing = f"the header says {shape.num_frames} frames, the file has {stored}"
    else:
        stored = len(dataset.PixelData) // _frame_bytes(dataset, shape)
        words = f"the header says {shape.num_frames} frames, {stored} whole ones are there"
        missing = f"PixelData is cut off: {words}"
    if stored < shape.num_frames:
        raise UnreadableStudyError(path, missing)
    if stored > shape.num_frames:
        warnings.append(f"the header says {shape.num_frames} frames, the file has {stored}: the rest is left out")
    if dataset.get("NumberOfFrames") == 0:
        warnings.append("NumberOfFrames is 0: one frame is read")
    return stored


def _count_code_streams(path: Path, dataset: Dataset, shape: ClipShape) -> int:
    """Fragments that start a code stream; a frame may go on in further fragments, which RLE does not allow."""
    buffer = BytesIO(dataset.PixelData)
    parse_basic_offsets(buffer)  # moves on to the first fragment
    fragments = list(generate_fragments(buffer))
    if dataset.file_meta.TransferSyntaxUID == uid.RLELossless:
        return len(fragments)
    starts = [fragment for fragment in fragments if starts_code_stream(fragment)]
    for size in map(codestream_size, starts):
        if size is not None and size != (shape.rows, shape.columns):
            refuse_size(path, (shape.rows, shape.columns), size)
    return len(starts)


def _frame_bytes(dataset: Dataset, shape: ClipShape) -> int:
    samples = shape.rows * shape.columns * int(dataset.get("SamplesPerPixel", 1))
    num_bytes = samples * int(dataset.BitsAllocated) // 8
    return num_bytes * 2 // 3 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else num_bytes


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
