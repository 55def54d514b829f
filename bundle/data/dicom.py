"""DICOM XA, RF, secondary capture and ultrasound, multi-frame or a series of single frames, as clips.

Single frames, multi-frame and enhanced objects, and video: PS3.3 C.7.6.3, C.7.6.5, C.7.6.6 and C.7.6.16.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from bundle.data.clip import Clip, ClipShape, Display, FrameOrigin, check_size
from bundle.data.dicom_files import damage_refused, has_dicom_preamble, read_dataset, stated_shape
from bundle.data.dicom_frames import ClipFiller, is_colour
from bundle.data.dicom_header import (
    frame_times_ms,
    intensity_relationship,
    is_synthetic,
    pixel_aspect,
    pixel_spacing_mm,
)
from bundle.data.dicom_pixels import stored_dtype
from bundle.data.dicom_series import series_order
from bundle.data.dicom_video import decode_video, is_video
from bundle.data.frame_memory import empty_frames
from bundle.data.repeats import repeat_warnings

__all__ = [
    "DICOM_SUFFIXES",
    "has_dicom_preamble",
    "probe_dicom",
    "probe_dicom_series",
    "read_dicom",
    "read_dicom_series",
]

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


def read_dicom(path: Path) -> Clip:
    """Read one file: every frame, as the viewer would show it.

    Raises:
        UnreadableStudyError: If it is no DICOM image, is damaged, or no decoder for it is installed.
    """
    dataset = read_dataset(path)
    if is_video(dataset):
        return _video_clip(path, dataset)
    return _clip([path], dataset, path.stem, [])


def read_dicom_series(folder: Path, paths: Sequence[Path], warnings: Sequence[str] = ()) -> Clip:
    """Read a folder's single-frame files as one clip, in the order of Instance Number; one file alone may be a cine.

    Raises:
        UnreadableStudyError: If the files belong to several series, differ in size, or cannot be put in order.
    """
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths]
    order, notes = series_order(folder, paths, headers)
    ordered = [paths[index] for index in order]
    dataset = read_dataset(ordered[0])
    if is_video(dataset):
        return _video_clip(ordered[0], dataset)
    return _clip(ordered, dataset, folder.name, [*warnings, *notes])


def probe_dicom(path: Path) -> ClipShape:
    """Size of the clip, from the header."""
    return stated_shape(path, read_dataset(path, stop_before_pixels=True))


def probe_dicom_series(folder: Path, paths: Sequence[Path]) -> ClipShape:
    """Size of the clip, from the headers."""
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths]
    series_order(folder, paths, headers)
    first = stated_shape(paths[0], headers[0])
    return ClipShape(first.num_frames * len(paths), first.rows, first.columns)


def _clip(paths: Sequence[Path], first: Dataset, name: str, warnings: list[str]) -> Clip:
    shape = stated_shape(paths[0], first)
    num_frames = shape.num_frames * len(paths)
    check_size(paths[0], num_frames, shape.rows, shape.columns)
    dtype = np.float32 if is_colour(first) else np.dtype(f"u{stored_dtype(paths[0], first).itemsize}")
    frames = empty_frames((num_frames, 1, shape.rows, shape.columns), dtype)
    filler = ClipFiller(frames[:, 0], warnings)
    for index, path in enumerate(paths):  # one file at a time is held
        filler.add_file(path, read_dataset(path) if index else first, index * shape.num_frames, shape)
    return _with_header(paths, first, frames, filler.displays(), name, warnings)


def _video_clip(path: Path, dataset: Dataset) -> Clip:
    shape = stated_shape(path, dataset)
    decoded = decode_video(path, dataset, shape)
    warnings = list(decoded.warnings)
    if decoded.num_frames > shape.num_frames:
        warnings.append(f"the header says {shape.num_frames} frames, the file has {decoded.num_frames}")
    frames, displays = decoded.stored[: shape.num_frames], decoded.displays[: shape.num_frames]
    return _with_header([path], dataset, frames, displays, path.stem, warnings)


def _with_header(
    paths: Sequence[Path],
    header: Dataset,
    frames: np.ndarray,
    displays: tuple[Display, ...],
    name: str,
    warnings: list[str],
) -> Clip:
    with damage_refused(paths[0]):
        times, times_source = frame_times_ms(header, len(frames), warnings)
        spacing, source = pixel_spacing_mm(header, warnings)
        aspect = pixel_aspect(header, warnings)
        warnings += ["synthetic: the header says that no patient was imaged"] if is_synthetic(header) else []
        relationship = intensity_relationship(header)
    frames_per_file = len(frames) // len(paths)
    clip = Clip(
        stored=frames,
        frame_times_ms=times,
        pixel_spacing_mm=spacing,
        spacing_source=source,
        origin=tuple(FrameOrigin(path, index) for path in paths for index in range(frames_per_file)),
        name=name,
        pixel_intensity_relationship=relationship,
        pixel_aspect=aspect,
        displays=displays,
        frame_times_source=times_source,
    )
    return replace(clip, warnings=tuple(dict.fromkeys([*warnings, *repeat_warnings(clip)])))
