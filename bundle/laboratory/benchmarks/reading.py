"""How fast clips are read, decoding process included, against the bare decoder on the same file."""

import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import cast

import av
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from bundle.data.readers import decode_clip, read_clip
from bundle.laboratory.benchmarks.record import Row


def measure_reading(num_frames: int = 600, size: int = 512, repeats: int = 3) -> list[Row]:
    """Write a moving pattern in five formats and read each; the ways take turns, and the best of the repeats counts.

    Returns:
        Frames per second of the bare decoder (stored values, or luma, in a list), of ``decode_clip`` in this process,
        of ``read_clip`` by way of the decoding process, and the share of the bare decoder's that this reaches.
    """
    frames = _moving_pattern(num_frames, size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files: list[tuple[str, Path, Callable[[Path], object]]] = [
            ("DICOM, uncompressed", _dicom(folder / "plain.dcm", frames), _bare_pydicom("")),
            ("DICOM, RLE", _dicom(folder / "rle.dcm", frames, uid.RLELossless), _bare_pydicom("pydicom")),
            ("DICOM, JPEG 2000", _dicom(folder / "j2k.dcm", frames, uid.JPEG2000Lossless), _bare_pydicom("pillow")),
            ("H.264 in MP4", _video(folder / "h264.mp4", frames, "libx264"), _bare_pyav),
            ("MJPEG in AVI", _video(folder / "mjpeg.avi", frames, "mjpeg"), _bare_pyav),
        ]
        return [_measure(kind, path, bare, num_frames, repeats) for kind, path, bare in files]


def _measure(kind: str, path: Path, bare: Callable[[Path], object], num_frames: int, repeats: int) -> Row:
    ways = {"bare decoder, frames/s": bare, "decode_clip": decode_clip, "read_clip": read_clip}
    best = dict.fromkeys(ways, 0.0)
    read_clip(path)  # starts the process and fills the disk's cache
    for _ in range(repeats):
        for title, way in ways.items():
            start = time.perf_counter()
            result = way(path)
            best[title] = max(best[title], num_frames / (time.perf_counter() - start))
            del result
    bare_speed, _, read = best.values()
    return {"file": kind, **best, "read_clip / bare": read / bare_speed}


def _moving_pattern(num_frames: int, size: int) -> np.ndarray:  # (T, H, W) uint8
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    noise = rng.normal(0, 3, (size, size))
    waves = (100 * np.sin((columns + 3 * index) / 40) * np.cos(rows / 30) for index in range(num_frames))
    return np.stack([np.uint8(np.clip(127 + wave + np.roll(noise, 7 * i), 0, 255)) for i, wave in enumerate(waves)])


def _dicom(path: Path, frames: np.ndarray, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> Path:
    dataset = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.XRayRadiofluoroscopicImageStorage, uid.generate_uid()
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    stored = frames if syntax == uid.JPEG2000Lossless else frames.astype(np.uint16) * 16
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored = 8 if stored.dtype.itemsize == 1 else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.WindowCenter, dataset.WindowWidth = 2.0 ** (dataset.BitsStored - 1), 2.0**dataset.BitsStored
    dataset.PixelData = stored.tobytes()
    if syntax == uid.RLELossless:
        dataset.compress(syntax)
    elif syntax == uid.JPEG2000Lossless:
        dataset.PixelData = encapsulate([_jpeg_2000(frame) for frame in stored])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _jpeg_2000(frame: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG2000", no_jp2=True)
    return buffer.getvalue()


def _video(path: Path, frames: np.ndarray, codec: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = cast(av.VideoStream, container.add_stream(codec, rate=30))
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for values in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray")))
        container.mux(stream.encode(None))
    return path


def _bare_pydicom(plugin: str) -> Callable[[Path], object]:
    return lambda path: list(pydicom.pixels.iter_pixels(pydicom.dcmread(path), decoding_plugin=plugin))


def _bare_pyav(path: Path) -> object:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return [np.array(frame.planes[0]) for frame in container.decode(video=0)]  # the luma: no conversion
