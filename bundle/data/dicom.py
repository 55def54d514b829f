"""DICOM RF, XA and secondary capture, multi-frame or a series of single frames (PS3.3 C.7.6.3, C.7.6.5, C.11)."""

import warnings as python_warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from bundle.data.clip import Clip, ClipShape, FrameOrigin, UnreadableStudyError, check_size
from bundle.data.dicom_grayscale import color_to_grey, to_display
from bundle.data.dicom_header import frame_times_ms, pixel_aspect_warning, pixel_spacing_mm

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


def read_dicom(path: Path) -> Clip:
    """Read one file: every frame, as the viewer would show it.

    Raises:
        UnreadableStudyError: If it is no DICOM image, is damaged, or no decoder for it is installed.
    """
    return _to_clip([path], [_read_dataset(path)], name=path.stem, warnings=[])


def read_dicom_series(folder: Path, paths: Sequence[Path], warnings: Sequence[str] = ()) -> Clip:
    """Read a folder's single-frame files as one clip, in the order of Instance Number; one file alone may be a cine.

    Raises:
        UnreadableStudyError: If the files belong to several series, differ in size, or cannot be put in order.
    """
    datasets = [_read_dataset(path) for path in paths]
    with _damage_refused(folder):
        order, notes = _series_order(folder, paths, datasets)
    return _to_clip(
        [paths[index] for index in order],
        [datasets[index] for index in order],
        name=folder.name,
        warnings=[*warnings, *notes],
    )


def probe_dicom(path: Path) -> ClipShape:
    """Size of the clip, from the header."""
    return _shape(path, _read_dataset(path, stop_before_pixels=True))


def probe_dicom_series(folder: Path, paths: Sequence[Path]) -> ClipShape:
    """Size of the clip, from the headers."""
    datasets = [_read_dataset(path, stop_before_pixels=True) for path in paths]
    with _damage_refused(folder):
        _series_order(folder, paths, datasets)
    first = _shape(paths[0], datasets[0])
    return ClipShape(first.num_frames * len(paths), first.rows, first.columns)


def has_dicom_preamble(path: Path) -> bool:
    """Whether the file says that it is DICOM."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def decode_pixels(path: Path, dataset: Dataset, warnings: list[str]) -> list[np.ndarray]:
    """Decode every frame to stored values, ``(H, W)`` or RGB ``(H, W, 3)``.

    The one place for transfer syntaxes: a killable worker, further decoders and video in DICOM belong here.

    Raises:
        UnreadableStudyError: If pixel data are missing, cut off, or in a syntax without an installed decoder.
    """
    if "PixelData" not in dataset:
        raise UnreadableStudyError(path, "no PixelData (7FE0,0010) in it")
    shape = _shape(path, dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        _check_length(path, dataset, shape, warnings)
    frames: list[np.ndarray] = []
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # pydicom's; ours are in the clip
            for frame in iter_pixels(dataset, allow_excess_frames=syntax.is_encapsulated):
                frames.append(frame)
                check_size(path, len(frames), shape.rows, shape.columns)
    except UnreadableStudyError:
        raise
    except Exception as error:  # pydicom leaks AttributeError, StopIteration, TypeError and its decoders' own errors
        reason = f"frame {len(frames)} in {syntax.name} cannot be decoded: {_first_line(error)}"
        raise UnreadableStudyError(path, reason) from None
    stated = (shape.rows, shape.columns)
    for got in {frame.shape[:2] for frame in frames} - {stated}:
        raise UnreadableStudyError(path, f"the header says {stated} rows and columns, its frames have {got}")
    if len(frames) < shape.num_frames:
        raise UnreadableStudyError(path, f"the header says {shape.num_frames} frames, the file has {len(frames)}")
    if len(frames) > shape.num_frames:
        warnings.append(_excess_warning(shape.num_frames, len(frames)))
    return frames[: shape.num_frames]


def _read_dataset(path: Path, stop_before_pixels: bool = False) -> Dataset:
    # Parser errors and warnings quote values of the header, a patient's name among them: only their type is passed on.
    with _damage_refused(path), python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=stop_before_pixels)
        is_image = "SOPClassUID" in dataset and "Rows" in dataset and "Columns" in dataset
        has_pixels = stop_before_pixels or "PixelData" in dataset
    if not is_image:
        raise UnreadableStudyError(path, "no DICOM image, or cut off: SOPClassUID, Rows or Columns is missing")
    if not has_pixels:
        raise UnreadableStudyError(path, "no PixelData (7FE0,0010) in it")
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        _assume_syntax(dataset)
    return dataset


def _assume_syntax(dataset: Dataset) -> None:
    """A file without the preamble and meta header is a bare data set, which cannot be compressed (PS3.5 10.1)."""
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    is_implicit, is_little_endian = dataset.original_encoding
    explicit = pydicom.uid.ExplicitVRLittleEndian if is_little_endian else pydicom.uid.ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if is_implicit else explicit


def _shape(path: Path, dataset: Dataset) -> ClipShape:
    with _damage_refused(path):
        num_frames = int(dataset.get("NumberOfFrames", 1) or 1)
        shape = ClipShape(num_frames, int(dataset.Rows), int(dataset.Columns))
    check_size(path, shape.num_frames, shape.rows, shape.columns)
    return shape


def _check_length(path: Path, dataset: Dataset, shape: ClipShape, warnings: list[str]) -> None:
    samples = int(dataset.get("SamplesPerPixel", 1))
    bytes_per_frame = shape.rows * shape.columns * samples * int(dataset.get("BitsAllocated", 8)) // 8
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        bytes_per_frame = bytes_per_frame * 2 // 3
    stored = len(dataset.PixelData) // bytes_per_frame if bytes_per_frame else 0
    if stored < shape.num_frames:
        raise UnreadableStudyError(
            path, f"PixelData is cut off: the header says {shape.num_frames} frames, {stored} whole ones are there"
        )
    if stored > shape.num_frames:
        warnings.append(_excess_warning(shape.num_frames, stored))


def _excess_warning(stated: int, stored: int) -> str:
    return f"the header says {stated} frames, the file has {stored}: the rest is left out"


def _series_order(
    folder: Path, paths: Sequence[Path], datasets: Sequence[Dataset]
) -> tuple[list[int], list[str]]:  # order, warnings
    if len(paths) == 1:
        return [0], []
    shapes = [_shape(path, dataset) for path, dataset in zip(paths, datasets, strict=True)]
    for path, shape in zip(paths, shapes, strict=True):
        if shape.num_frames > 1:
            raise UnreadableStudyError(folder, f"{path.name} is a clip of its own among {len(paths)} files: name one")
        if shape != shapes[0]:
            raise UnreadableStudyError(
                folder,
                f"mixed sizes: {paths[0].name} has {shapes[0].rows} x {shapes[0].columns} pixels, "
                f"{path.name} has {shape.rows} x {shape.columns}",
            )
    num_series = len({str(dataset.get("SeriesInstanceUID")) for dataset in datasets})
    if num_series > 1:
        raise UnreadableStudyError(folder, f"files of {num_series} series in one folder: put each series in its own")
    numbers = [dataset.get("InstanceNumber") for dataset in datasets]
    missing = [path.name for path, number in zip(paths, numbers, strict=True) if number in (None, "")]
    if missing:
        raise UnreadableStudyError(folder, f"no InstanceNumber, so no order, in {', '.join(missing[:3])}")
    keys = [int(number) for number in numbers]
    notes = [] if len(set(keys)) == len(keys) else ["InstanceNumber repeats: equal ones are in the order of names"]
    return sorted(range(len(keys)), key=lambda index: (keys[index], paths[index].name)), notes


def _to_clip(paths: Sequence[Path], datasets: Sequence[Dataset], name: str, warnings: list[str]) -> Clip:
    first, header = paths[0], datasets[0]
    shape = _shape(first, header)
    check_size(first, shape.num_frames * len(paths), shape.rows, shape.columns)
    with _damage_refused(first):
        stored = [
            color_to_grey(frame, warnings)
            for path, dataset in zip(paths, datasets, strict=True)
            for frame in decode_pixels(path, dataset, warnings)
        ]
        frames = _to_display(first, np.stack(stored), header, warnings)
        times = frame_times_ms(header, len(stored), warnings)
        spacing, source = pixel_spacing_mm(header, warnings)
        warnings += pixel_aspect_warning(header)
    return Clip(
        frames=frames[:, None],
        frame_times_ms=times,
        pixel_spacing_mm=spacing,
        spacing_source=source,
        origin=tuple(FrameOrigin(path, index) for path in paths for index in range(shape.num_frames)),
        warnings=tuple(dict.fromkeys(warnings)),
        name=name,
    )


def _to_display(path: Path, stored: np.ndarray, header: Dataset, warnings: list[str]) -> np.ndarray:
    try:
        return to_display(stored, header, warnings)
    except ValueError as error:  # ours: which attribute is wrong, and how
        raise UnreadableStudyError(path, _first_line(error)) from None


@contextmanager
def _damage_refused(path: Path) -> Iterator[None]:
    """Turn whatever a damaged header makes pydicom or numpy raise into one error, without quoting the header."""
    try:
        yield
    except UnreadableStudyError:
        raise
    except Exception as error:
        raise UnreadableStudyError(path, f"damaged DICOM ({type(error).__name__})") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
