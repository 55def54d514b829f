"""DICOM XA, RF, secondary capture and ultrasound, multi-frame or a series of single frames, as clips.

Single frames, multi-frame and enhanced objects, and video: PS3.3 C.7.6.3, C.7.6.5, C.7.6.6 and C.7.6.16.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from bundle.data.clip import Clip, ClipShape, Display, FrameOrigin
from bundle.data.dicom_files import damage_refused, has_dicom_preamble, read_dataset, stated_shape
from bundle.data.dicom_frames import FrameDecoder, is_colour
from bundle.data.dicom_header import (
    frame_times_ms,
    intensity_relationship,
    is_synthetic,
    pixel_aspect,
    pixel_spacing_mm,
)
from bundle.data.dicom_pixels import stored_dtype
from bundle.data.dicom_series import series_order
from bundle.data.dicom_video import is_video, stream_dicom_video
from bundle.data.frame_stream import Frame, FrameStream, PassedFrames, Start, collect

__all__ = [
    "DICOM_SUFFIXES",
    "has_dicom_preamble",
    "probe_dicom",
    "probe_dicom_series",
    "read_dicom",
    "read_dicom_series",
    "stream_dicom",
    "stream_dicom_series",
]

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


def read_dicom(path: Path) -> Clip:
    """Read one file: every frame, as the viewer would show it.

    Raises:
        UnreadableStudyError: If it is no DICOM image, is damaged, or no decoder for it is installed.
    """
    return collect(stream_dicom(path))


def stream_dicom(path: Path, is_shown_at_once: bool = False) -> FrameStream:
    """The same, frame by frame.

    Args:
        path: The file.
        is_shown_at_once: Whether each frame must say how it is shown; without a window in the header the file is then
            decoded twice, first for the percentiles.
    """
    dataset = read_dataset(path)
    if is_video(dataset):
        return (yield from _stream_video(path, dataset))
    return (yield from _stream_files([path], dataset, path.stem, [], is_shown_at_once))


def read_dicom_series(folder: Path, paths: Sequence[Path], warnings: Sequence[str] = ()) -> Clip:
    """Read a folder's single-frame files as one clip, in the order of Instance Number; one file alone may be a cine.

    Raises:
        UnreadableStudyError: If the files belong to several series, differ in size, or cannot be put in order.
    """
    return collect(stream_dicom_series(folder, paths, warnings))


def stream_dicom_series(
    folder: Path, paths: Sequence[Path], warnings: Sequence[str] = (), is_shown_at_once: bool = False
) -> FrameStream:
    """The same, frame by frame; arguments as of ``read_dicom_series`` and ``stream_dicom``."""
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths]
    order, notes = series_order(folder, paths, headers)
    del headers
    ordered = [paths[index] for index in order]
    dataset = read_dataset(ordered[0])
    if is_video(dataset):
        return (yield from _stream_video(ordered[0], dataset))
    return (yield from _stream_files(ordered, dataset, folder.name, [*warnings, *notes], is_shown_at_once))


def probe_dicom(path: Path) -> ClipShape:
    """Size of the clip, from the header."""
    return stated_shape(path, read_dataset(path, stop_before_pixels=True))


def probe_dicom_series(folder: Path, paths: Sequence[Path]) -> ClipShape:
    """Size of the clip, from the headers."""
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths]
    series_order(folder, paths, headers)
    first = stated_shape(paths[0], headers[0])
    return ClipShape(first.num_frames * len(paths), first.rows, first.columns)


def _stream_files(
    paths: Sequence[Path],
    first: Dataset,
    name: str,
    warnings: Sequence[str],
    is_shown_at_once: bool,
    limits: tuple[float, float] | None = None,
) -> FrameStream:
    start = _start(paths, first)
    yield start
    notes = list(warnings)
    decoder = FrameDecoder(
        start.num_frames * start.rows * start.columns, start.dtype, notes, limits, not is_shown_at_once
    )
    for item in _decode(decoder, paths, first):
        if is_shown_at_once and item.display is None and start.dtype != np.float32:
            limits = _count_limits(start, paths, first)
            return (yield from _stream_files(paths, first, name, warnings, is_shown_at_once, limits))
        yield item
    shape = ClipShape(start.num_frames, start.rows, start.columns)
    return _with_header(paths, first, shape, start.dtype, decoder.displays(), name, notes)


def _decode(decoder: FrameDecoder, paths: Sequence[Path], first: Dataset) -> Iterator[Frame]:
    shape = stated_shape(paths[0], first)
    for index, path in enumerate(paths):  # one file at a time is held
        yield from decoder.frames(path, read_dataset(path) if index else first, shape)


def _count_limits(start: Start, paths: Sequence[Path], first: Dataset) -> tuple[float, float] | None:
    """Percentiles of the whole clip, by decoding it all."""
    decoder = FrameDecoder(start.num_frames * start.rows * start.columns, start.dtype, [], keeps_headers=False)
    for _ in _decode(decoder, paths, first):
        pass
    decoder.displays()
    return decoder.limits


def _stream_video(path: Path, dataset: Dataset) -> FrameStream:
    shape = stated_shape(path, dataset)
    aspect, has_spacing = _pixels(path, dataset)
    start = Start(path, shape.num_frames, shape.rows, shape.columns, np.dtype(np.uint8), aspect, has_spacing)
    decoded = yield from stream_dicom_video(path, dataset, start)
    warnings = list(decoded.warnings)
    if decoded.num_frames > shape.num_frames:
        warnings.append(f"the header says {shape.num_frames} frames, the file has {decoded.num_frames}")
    return _with_header([path], dataset, shape, decoded.stored.dtype, (), path.stem, warnings)


def _start(paths: Sequence[Path], first: Dataset) -> Start:
    shape = stated_shape(paths[0], first)
    dtype = np.dtype(np.float32 if is_colour(first) else f"u{stored_dtype(paths[0], first).itemsize}")
    return Start(paths[0], shape.num_frames * len(paths), shape.rows, shape.columns, dtype, *_pixels(paths[0], first))


def _pixels(path: Path, header: Dataset) -> tuple[float, bool]:
    """A pixel's height divided by its width, and whether the header states a spacing."""
    with damage_refused(path):
        return pixel_aspect(header, []), pixel_spacing_mm(header, [])[0] is not None


def _with_header(
    paths: Sequence[Path],
    header: Dataset,
    shape: ClipShape,
    dtype: np.dtype,
    displays: tuple[Display, ...],
    name: str,
    warnings: list[str],
) -> Clip:
    with damage_refused(paths[0]):
        times, times_source = frame_times_ms(header, shape.num_frames, warnings)
        spacing, source = pixel_spacing_mm(header, warnings)
        aspect = pixel_aspect(header, warnings)
        warnings += ["synthetic: the header says that no patient was imaged"] if is_synthetic(header) else []
        relationship = intensity_relationship(header)
    frames_per_file = shape.num_frames // len(paths)
    return Clip(
        stored=PassedFrames((shape.num_frames, 1, shape.rows, shape.columns), dtype),
        frame_times_ms=times,
        pixel_spacing_mm=spacing,
        spacing_source=source,
        origin=tuple(FrameOrigin(path, index) for path in paths for index in range(frames_per_file)),
        name=name,
        pixel_intensity_relationship=relationship,
        pixel_aspect=aspect,
        displays=displays,
        frame_times_source=times_source,
        warnings=tuple(dict.fromkeys(warnings)),
    )
