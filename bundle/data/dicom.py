"""DICOM XA, RF, secondary capture and ultrasound, multi-frame or a series of single frames, as clips.

Single frames, multi-frame and enhanced objects, and video: PS3.3 C.7.6.3, C.7.6.5, C.7.6.6 and C.7.6.16.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.uid import MPEGTransferSyntaxes

from bundle.data.clip import Clip, ClipShape, Display, FrameOrigin, UnreadableStudyError
from bundle.data.dicom_files import damage_refused, read_dataset, stated_shape
from bundle.data.dicom_frames import FrameDecoder, is_colour
from bundle.data.dicom_header import (
    frame_times_ms,
    intensity_relationship,
    is_synthetic,
    pixel_aspect,
    pixel_spacing_mm,
)
from bundle.data.dicom_pixels import stored_dtype
from bundle.data.dicom_series import run_note, series_order
from bundle.data.frame_stream import ClipStart, FrameStream, PassedFrames, StreamedFrame, collect_clip
from bundle.data.video import stream_video
from bundle.data.worker_channel import unnamed_file


class _File(NamedTuple):
    """A file of a clip, and the frames that it has by its header."""

    path: Path
    shape: ClipShape


def read_dicom(path: Path) -> Clip:
    """Read one file: every frame, as the viewer would show it.

    Raises:
        UnreadableStudyError: If it is no DICOM image, is damaged, or no decoder for it is installed.
    """
    return collect_clip(stream_dicom(path))


def stream_dicom(path: Path, needs_displays: bool = False) -> FrameStream:
    """The same, frame by frame.

    Args:
        path: The file.
        needs_displays: Whether each frame must say how it is shown; without a window in the header the file is then
            decoded twice, first for the percentiles.
    """
    dataset = read_dataset(path)
    if is_video(dataset):
        return (yield from _stream_video(path, dataset))
    (file,), notes = _ordered(path, [path], [dataset])
    return (yield from _stream_files([file], dataset, path.stem, notes, needs_displays))


def read_dicom_series(folder: Path, paths: Sequence[Path], warnings: Sequence[str] = ()) -> Clip:
    """Read the files of one clip: single frames of one run, parts of a concatenation, or one file alone.

    Raises:
        UnreadableStudyError: If the files are not one clip, or cannot be put in order.
    """
    return collect_clip(stream_dicom_series(folder, paths, warnings))


def stream_dicom_series(
    folder: Path, paths: Sequence[Path], warnings: Sequence[str] = (), needs_displays: bool = False
) -> FrameStream:
    """The same, frame by frame; arguments as of ``read_dicom_series`` and ``stream_dicom``."""
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths]
    files, notes = _ordered(folder, paths, headers)
    notes = [*warnings, *notes, *run_note(folder, paths, headers[0])]
    dataset = read_dataset(files[0].path)
    if is_video(dataset):
        return (yield from _stream_video(files[0].path, dataset))
    _join_frame_groups(dataset, files, dict(zip(paths, headers, strict=True)))
    del headers
    return (yield from _stream_files(files, dataset, folder.name, notes, needs_displays))


def probe_dicom(path: Path) -> ClipShape:
    """Size of the clip, from the header."""
    return probe_dicom_series(path, [path])


def probe_dicom_series(folder: Path, paths: Sequence[Path]) -> ClipShape:
    """Size of the clip, from the headers."""
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths]
    return _whole_shape(_ordered(folder, paths, headers)[0])


def _ordered(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[_File], list[str]]:
    order, notes = series_order(folder, paths, headers)
    return [_File(paths[index], stated_shape(paths[index], headers[index])) for index in order], notes


def _whole_shape(files: Sequence[_File]) -> ClipShape:
    first = files[0].shape
    return ClipShape(sum(file.shape.num_frames for file in files), first.rows, first.columns)


def _join_frame_groups(first: Dataset, files: Sequence[_File], headers: Mapping[Path, Dataset]) -> None:
    """Give a concatenation's first part the frames' own attributes, such as their times, of all parts."""
    keyword = "PerFrameFunctionalGroupsSequence"
    if keyword in first and len(files) > 1:
        groups = [group for file in files[1:] for group in headers[file.path].get(keyword) or []]
        first[keyword].value.extend(groups)


def _stream_files(
    files: Sequence[_File],
    first: Dataset,
    name: str,
    warnings: Sequence[str],
    needs_displays: bool,
    limits: tuple[float, float] | None = None,
) -> FrameStream:
    start = _start(files, first)
    yield start
    notes = list(warnings)
    decoder = FrameDecoder(
        start.num_frames * start.rows * start.columns, start.dtype, notes, limits, not needs_displays
    )
    for item in _decode(decoder, files, first):
        if needs_displays and item.display is None and start.dtype != np.float32:
            limits = _count_limits(start, files, first)
            return (yield from _stream_files(files, first, name, warnings, needs_displays, limits))
        yield item
    shape = ClipShape(start.num_frames, start.rows, start.columns)
    return _with_header(files, first, shape, start.dtype, decoder.displays(), name, notes)


def _decode(decoder: FrameDecoder, files: Sequence[_File], first: Dataset) -> Iterator[StreamedFrame]:
    for index, file in enumerate(files):  # one at a time is held
        yield from decoder.frames(file.path, read_dataset(file.path) if index else first, file.shape)


def _count_limits(start: ClipStart, files: Sequence[_File], first: Dataset) -> tuple[float, float] | None:
    """Percentiles of the whole clip, by decoding it all."""
    decoder = FrameDecoder(start.num_frames * start.rows * start.columns, start.dtype, [], keeps_headers=False)
    for _ in _decode(decoder, files, first):
        pass
    decoder.displays()
    return decoder.limits


def _stream_video(path: Path, dataset: Dataset) -> FrameStream:
    shape = stated_shape(path, dataset)
    aspect, has_spacing = _pixels(path, dataset)
    start = ClipStart(path, shape.num_frames, shape.rows, shape.columns, np.dtype(np.uint8), aspect, has_spacing)
    decoded = yield from stream_dicom_video(path, dataset, start)
    warnings = list(decoded.warnings)
    if decoded.num_frames > shape.num_frames:
        warnings.append(f"the header says {shape.num_frames} frames, the file has {decoded.num_frames}")
    return _with_header([_File(path, shape)], dataset, shape, decoded.stored.dtype, (), path.stem, warnings)


def _start(files: Sequence[_File], first: Dataset) -> ClipStart:
    path, shape = files[0].path, _whole_shape(files)
    dtype = np.dtype(np.float32 if is_colour(first) else f"u{stored_dtype(path, first).itemsize}")
    return ClipStart(path, shape.num_frames, shape.rows, shape.columns, dtype, *_pixels(path, first))


def _pixels(path: Path, header: Dataset) -> tuple[float, bool]:
    """A pixel's height divided by its width, and whether the header states a spacing."""
    with damage_refused(path):
        return pixel_aspect(header, []), pixel_spacing_mm(header, [])[0] is not None


def _with_header(
    files: Sequence[_File],
    header: Dataset,
    shape: ClipShape,
    dtype: np.dtype,
    displays: tuple[Display, ...],
    name: str,
    warnings: list[str],
) -> Clip:
    with damage_refused(files[0].path):
        times, times_source = frame_times_ms(header, shape.num_frames, warnings)
        spacing, source = pixel_spacing_mm(header, warnings)
        aspect = pixel_aspect(header, warnings)
        warnings += ["synthetic: the header says that no patient was imaged"] if is_synthetic(header) else []
        relationship = intensity_relationship(header)
    return Clip(
        stored=PassedFrames((shape.num_frames, 1, shape.rows, shape.columns), dtype),
        frame_times_ms=times,
        pixel_spacing_mm=spacing,
        spacing_source=source,
        origin=tuple(FrameOrigin(file.path, index) for file in files for index in range(file.shape.num_frames)),
        name=name,
        pixel_intensity_relationship=relationship,
        pixel_aspect=aspect,
        displays=displays,
        frame_times_source=times_source,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def is_video(dataset: Dataset) -> bool:
    """Whether pixel data are one video stream, by the transfer syntax."""
    return dataset.file_meta.TransferSyntaxUID in MPEGTransferSyntaxes


def stream_dicom_video(path: Path, dataset: Dataset, start: ClipStart) -> FrameStream:
    """Decode the stream as the video file that it is; its values are for display already.

    Args:
        path: The DICOM file.
        dataset: Its content.
        start: What its header says. Frames beyond these are left out, though the clip at the end counts them.

    Raises:
        UnreadableStudyError: If it cannot be decoded, or has fewer or other frames than the header says.
    """
    with damage_refused(path):
        buffer = BytesIO(dataset.PixelData)
        parse_basic_offsets(buffer)  # moves on to the first fragment
        stream = b"".join(generate_fragments(buffer))
    with unnamed_file(stream) as file:
        del buffer, stream
        frames, num_frames = stream_video(file), 0
        while True:
            try:
                item = next(frames)
            except StopIteration as end:
                clip = end.value
                break
            except UnreadableStudyError as error:
                raise UnreadableStudyError(path, f"the video in it: {error.reason}") from None
            if isinstance(item, ClipStart):
                _check_size(path, start, item)
                num_frames = 0
                yield start._replace(dtype=item.dtype)
            elif num_frames < start.num_frames:
                num_frames += 1
                yield item
    if clip.num_frames < start.num_frames:
        raise UnreadableStudyError(path, f"the header says {start.num_frames} frames, the file has {clip.num_frames}")
    return clip


def _check_size(path: Path, stated: ClipStart, got: ClipStart) -> None:
    size, other = (stated.rows, stated.columns), (got.rows, got.columns)
    if size != other:
        raise UnreadableStudyError(path, f"the header says {size} rows and columns, its frames have {other}")
