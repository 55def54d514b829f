"""DICOM XA, RF, secondary capture and ultrasound, multi-frame or a series of single frames, as clips.

Single frames, multi-frame and enhanced objects, and video: PS3.3 C.7.6.3, C.7.6.5, C.7.6.6 and C.7.6.16. Video inside
DICOM is one stream in fragments of the pixel data element (PS3.5 8.2.5 to 8.2.9).
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.uid import MPEGTransferSyntaxes

from bundle.data.clip import Clip, ClipShape, Display, FrameOrigin, UnreadableStudyError, damage_refused
from bundle.data.dicom_files import read_dataset, refuse_size, stated_shape
from bundle.data.dicom_frames import FrameDecoder, is_color
from bundle.data.dicom_header import (
    frame_times_ms,
    intensity_relationship,
    is_synthetic,
    pixel_aspect,
    pixel_spacing_mm,
)
from bundle.data.dicom_pixels import stored_dtype
from bundle.data.dicom_series import run_note, series_order
from bundle.data.frame_stream import ClipStart, FrameStream, PassedFrames, StreamedFrame
from bundle.data.video import stream_video
from bundle.data.worker_channel import unnamed_file


class _File(NamedTuple):
    """A file of a clip, and the frames that it has by its header."""

    path: Path
    shape: ClipShape


class _Source(NamedTuple):
    """What a clip is read from: its files in order, and the first one's content."""

    files: Sequence[_File]
    first: Dataset
    name: str
    notes: Sequence[str]

    @property
    def path(self) -> Path:
        return self.files[0].path

    @property
    def shape(self) -> ClipShape:
        first = self.files[0].shape
        return ClipShape(sum(file.shape.num_frames for file in self.files), first.rows, first.columns)

    def start(self, dtype: np.dtype) -> ClipStart:
        with damage_refused(self.path):
            aspect, has_spacing = pixel_aspect(self.first, []), pixel_spacing_mm(self.first, [])[0] is not None
        return ClipStart(self.path, *self.shape, dtype, aspect, has_spacing)


def stream_dicom(
    place: Path, paths: Sequence[Path] = (), warnings: Sequence[str] = (), needs_displays: bool = False
) -> FrameStream:
    """Every frame of a file, or of the files of a folder that are one clip, as the viewer would show it.

    These are single frames of one run, parts of a concatenation, or one file. With ``needs_displays`` each frame says
    how it is shown; without a window in the header the files are then decoded twice, first for the percentiles.
    """
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths] or [read_dataset(place)]
    files, notes = _ordered(place, paths or [place], headers)
    if paths:
        notes = [*warnings, *notes, *run_note(place, paths, headers[0])]
        first = read_dataset(files[0].path)
        _join_frame_groups(first, files, dict(zip(paths, headers, strict=True)))
    else:
        first = headers[0]
    del headers
    if first.file_meta.TransferSyntaxUID in MPEGTransferSyntaxes:
        return (yield from _stream_video(files[0].path, first))
    return (yield from _stream_files(_Source(files, first, place.name if paths else place.stem, notes), needs_displays))


def probe_dicom(place: Path, paths: Sequence[Path] = ()) -> ClipShape:
    """Size of the clip, from the headers; arguments as of ``stream_dicom``."""
    paths = paths or [place]
    headers = [read_dataset(path, stop_before_pixels=True) for path in paths]
    return _Source(_ordered(place, paths, headers)[0], headers[0], "", ()).shape


def _ordered(place: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[_File], list[str]]:
    order, notes = series_order(place, paths, headers)
    return [_File(paths[index], stated_shape(paths[index], headers[index])) for index in order], notes


def _join_frame_groups(first: Dataset, files: Sequence[_File], headers: Mapping[Path, Dataset]) -> None:
    """Give a concatenation's first part the frames' own attributes, such as their times, of all parts."""
    keyword = "PerFrameFunctionalGroupsSequence"
    if keyword in first and len(files) > 1:
        groups = [group for file in files[1:] for group in headers[file.path].get(keyword) or []]
        first[keyword].value.extend(groups)


def _stream_files(source: _Source, needs_displays: bool, limits: tuple[float, float] | None = None) -> FrameStream:
    stored = np.float32 if is_color(source.first) else f"u{stored_dtype(source.path, source.first).itemsize}"
    start, warnings = source.start(np.dtype(stored)), list(source.notes)
    yield start
    num_pixels = start.num_frames * start.rows * start.columns
    decoder = FrameDecoder(num_pixels, start.dtype, warnings, limits, not needs_displays)
    for item in _decode(decoder, source):
        if needs_displays and item.display is None and start.dtype != np.float32:
            counter = FrameDecoder(num_pixels, start.dtype, [], keeps_headers=False)
            for _ in _decode(counter, source):  # all of the clip, for its percentiles
                pass
            counter.displays()
            return (yield from _stream_files(source, needs_displays, counter.limits))
        yield item
    return _with_header(source, start.dtype, decoder.displays(), warnings)


def _decode(decoder: FrameDecoder, source: _Source) -> Iterator[StreamedFrame]:
    for index, file in enumerate(source.files):  # one at a time is held
        yield from decoder.frames(file.path, read_dataset(file.path) if index else source.first, file.shape)


def _stream_video(path: Path, dataset: Dataset) -> FrameStream:
    source = _Source([_File(path, stated_shape(path, dataset))], dataset, path.stem, ())
    decoded = yield from _decode_video(path, dataset, source.start(np.dtype(np.uint8)))
    warnings = list(decoded.warnings)
    if decoded.num_frames > source.shape.num_frames:
        warnings.append(f"the header says {source.shape.num_frames} frames, the file has {decoded.num_frames}")
    return _with_header(source, decoded.stored.dtype, (), warnings)


def _decode_video(path: Path, dataset: Dataset, start: ClipStart) -> FrameStream:
    """Decode the stream as the video file that it is; frames beyond the header's number are counted and left out."""
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
                if (item.rows, item.columns) != (start.rows, start.columns):
                    refuse_size(path, (start.rows, start.columns), (item.rows, item.columns))
                num_frames = 0
                yield start._replace(dtype=item.dtype)
            elif num_frames < start.num_frames:
                num_frames += 1
                yield item
    if clip.num_frames < start.num_frames:
        raise UnreadableStudyError(path, f"the header says {start.num_frames} frames, the file has {clip.num_frames}")
    return clip


def _with_header(source: _Source, dtype: np.dtype, displays: tuple[Display, ...], warnings: list[str]) -> Clip:
    header, shape = source.first, source.shape
    with damage_refused(source.path):
        times, times_source = frame_times_ms(header, shape.num_frames, warnings)
        spacing, spacing_source = pixel_spacing_mm(header, warnings)
        aspect = pixel_aspect(header, warnings)
        warnings += ["synthetic: the header says that no patient was imaged"] if is_synthetic(header) else []
        relationship = intensity_relationship(header)
    return Clip(
        stored=PassedFrames((shape.num_frames, 1, shape.rows, shape.columns), dtype),
        frame_times_ms=times,
        pixel_spacing_mm=spacing,
        spacing_source=spacing_source,
        origin=tuple(FrameOrigin(file.path, index) for file in source.files for index in range(file.shape.num_frames)),
        name=source.name,
        pixel_intensity_relationship=relationship,
        pixel_aspect=aspect,
        displays=displays,
        frame_times_source=times_source,
        warnings=tuple(dict.fromkeys(warnings)),
    )
