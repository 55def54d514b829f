"""A black rectangle on every frame of a DICOM file, for text that is burned in; the copy is uncompressed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from bundle.data.clip import ClipShape, UnreadableStudyError
from bundle.data.dicom_files import read_dataset, stated_shape
from bundle.data.dicom_pixels import decode_frames
from bundle.data.readers import run_for
from bundle.data.worker import Limits, decodes_in_process

LOSSY_SYNTAXES = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
BASE_SECONDS, SECONDS_PER_MEGAPIXEL = 60.0, 1.0
BASE_BYTES, BYTES_PER_PIXEL = 2**30, 16


@dataclass(frozen=True)
class Rectangle:
    """Rows and columns from 0; the second ones are the first that are not black any more."""

    row0: int  # First row
    column0: int  # First column
    row1: int  # Row after the last
    column1: int  # Column after the last

    def __post_init__(self) -> None:
        if not (0 <= self.row0 <= self.row1 and 0 <= self.column0 <= self.column1):
            raise ValueError(f"a rectangle needs 0 <= ROW0 <= ROW1 and 0 <= COL0 <= COL1, got {self}")

    @classmethod
    def parse(cls, text: str) -> "Rectangle":
        """Read ``ROW0,COL0,ROW1,COL1``."""
        try:
            row0, column0, row1, column1 = (int(number) for number in text.split(","))
        except ValueError:
            raise ValueError(f"a rectangle is ROW0,COL0,ROW1,COL1, four whole numbers, got '{text}'") from None
        return cls(row0, column0, row1, column1)


def blacken(path: Path, dataset: Dataset, rectangle: Rectangle) -> None:
    """Decode, blacken, and put uncompressed pixel data in place; BurnedInAnnotation stays as it was."""
    shape = stated_shape(path, dataset)
    if rectangle.row1 > shape.rows or rectangle.column1 > shape.columns:
        raise UnreadableStudyError(path, f"--blacken leaves the image, which has {shape.rows} x {shape.columns} pixels")
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        raise UnreadableStudyError(path, "--blacken does not work on big endian files: convert it first")
    is_gray = dataset.get("SamplesPerPixel", 1) == 1
    photometric = str(dataset.get("PhotometricInterpretation", "")) if is_gray else "RGB"
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        raise UnreadableStudyError(path, f"--blacken does not know what is black in {photometric or 'no photometry'}")
    frames = decode_stored(path) if decodes_in_process() else run_for(path, _limits(shape), decode_stored, path)
    bits = int(dataset.BitsStored) if is_gray else 8 * frames.dtype.itemsize
    lowest = -(2 ** (bits - 1)) if frames.dtype.kind == "i" else 0
    black = lowest + 2**bits - 1 if photometric == "MONOCHROME1" else lowest
    rows, columns = slice(rectangle.row0, rectangle.row1), slice(rectangle.column0, rectangle.column1)
    frames[:, rows, columns] = black
    _set_pixels(dataset, frames if "NumberOfFrames" in dataset else frames[0], photometric, bits)


def decode_stored(path: Path) -> np.ndarray:
    """Stored values ``(T, H, W)`` or ``(T, H, W, 3)``, for the decoding process to run."""
    dataset = read_dataset(path)
    return np.stack(list(decode_frames(path, dataset, stated_shape(path, dataset), [])))


def _set_pixels(dataset: Dataset, pixels: np.ndarray, photometric: str, bits: int) -> None:
    if dataset.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES:
        dataset.LossyImageCompression = "01"  # once lossy, always lossy (PS3.3 C.7.6.1.1.5)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.set_pixel_data(pixels, photometric, bits, generate_instance_uid=False)


def _limits(shape: ClipShape) -> Limits:
    pixels = shape.num_frames * shape.rows * shape.columns
    return Limits(BASE_SECONDS + SECONDS_PER_MEGAPIXEL * pixels / 1e6, BASE_BYTES + BYTES_PER_PIXEL * pixels)
