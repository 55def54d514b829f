"""Tiny files of every kind, small enough to check by hand."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, XRayRadiofluoroscopicImageStorage, generate_uid


@pytest.fixture
def write_dicom() -> Callable[..., Path]:
    """Write stored values ``(T, H, W)`` or ``(T, H, W, 3)`` as an RF file; keywords set tags, None drops one."""

    def write(path: Path, stored: np.ndarray, syntax: UID | None = None, **tags: object) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = XRayRadiofluoroscopicImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        is_color = stored.ndim == 4
        dataset.SOPClassUID = XRayRadiofluoroscopicImageStorage
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.PatientName = "Secret^Name"
        dataset.Modality = "RF"
        dataset.Rows, dataset.Columns = stored.shape[1:3]
        dataset.NumberOfFrames = len(stored)
        dataset.SamplesPerPixel = 3 if is_color else 1
        if is_color:
            dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
        dataset.BitsAllocated = 8 * stored.dtype.itemsize
        dataset.BitsStored = 12 if stored.dtype.itemsize == 2 else 8
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = 0
        dataset.PixelData = stored.tobytes()
        if syntax is not None:
            dataset.compress(syntax)
        for keyword, value in tags.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """Encode frames ``(T, H, W)`` uint8; ``pts`` gives every frame's time in units of 1 / rate."""

    def write(
        path: Path, frames: np.ndarray, codec: str = "mjpeg", rate: int = 15, pts: list[int] | None = None
    ) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = frames.shape[2], frames.shape[1]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = Fraction(1, rate)
            for index, values in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(values, format="gray")
                frame.pts = pts[index] if pts else index
                frame.time_base = Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
