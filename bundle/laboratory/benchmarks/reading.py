"""How fast clips are read, decoding process included, against the bare decoder on the same file."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import av
import numpy as np
import psutil
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from bundle.data.readers import decode_clip, read_clip
from bundle.data.worker import WORKER, Limits


@dataclass(frozen=True)
class ReadingSpeed:
    """Frames per second of one file, the best of the repeats.

    Attributes:
        kind: What the file is.
        bare: The decoder alone: stored values, or luma, in a list.
        in_process: ``decode_clip``: the whole clip in the calling process.
        read: ``read_clip``: the whole clip, by way of the decoding process.
    """

    kind: str
    bare: float
    in_process: float
    read: float

    @property
    def ratio(self) -> float:
        """Share of the bare decoder's throughput that ``read_clip`` reaches."""
        return self.read / self.bare


def measure_reading(
    num_frames: int = 200, size: int = 512, repeats: int = 3, is_cpu_time: bool = False
) -> list[ReadingSpeed]:
    """Write a moving pattern in five formats and read each; the runs of the three ways take turns.

    Args:
        num_frames: Frames of each file.
        size: Rows and columns.
        repeats: Runs, of which the best counts.
        is_cpu_time: Count the CPU time of both processes instead of the time that passes: for a busy machine.
    """
    clock = _cpu_clock() if is_cpu_time else time.perf_counter
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
        return [_measure(kind, path, bare, num_frames, repeats, clock) for kind, path, bare in files]


def _measure(
    kind: str,
    path: Path,
    bare: Callable[[Path], object],
    num_frames: int,
    repeats: int,
    clock: Callable[[], float],
) -> ReadingSpeed:
    ways = (bare, decode_clip, read_clip)
    best = [float("inf")] * len(ways)
    read_clip(path)  # starts the process and fills the disk's cache
    for _ in range(repeats):
        for index, way in enumerate(ways):
            start = clock()
            result = way(path)
            best[index] = min(best[index], clock() - start)
            del result
    return ReadingSpeed(kind, *(num_frames / seconds for seconds in best))


def _cpu_clock() -> Callable[[], float]:
    decoder = psutil.Process(WORKER.call(os.getpid, limits=Limits(seconds=300, num_bytes=2**28)))

    def seconds() -> float:
        times = decoder.cpu_times()  # in steps of 10 ms
        return time.process_time() + times.user + times.system

    return seconds


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
