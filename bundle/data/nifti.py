"""NIfTI clips ``(X, Y, 1, T)``, ``(X, Y, T)`` and images ``(X, Y)``, in stored order: no flip by the affine."""

import gzip
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bundle.data.clip import (
    Clip,
    ClipShape,
    FrameOrigin,
    UnreadableStudyError,
    apply_limits,
    check_size,
    percentile_window,
)
from bundle.data.frame_memory import empty_frames

NIFTI_SUFFIXES = (".nii", ".nii.gz")
MILLISECONDS = {"sec": 1000.0, "msec": 1.0, "usec": 1e-3}
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3}
MAX_TRAILING_MEGABYTES = 64


def read_nifti(path: Path) -> Clip:
    """Read frames, spacing and times; uint8 is shown as it is, other values by cal_min/cal_max or percentiles.

    Raises:
        UnreadableStudyError: If the file is damaged or has other axes than X, Y and time.
    """
    image = open_nifti(path)
    shape = _clip_shape(path, image.shape)
    values = read_array(path, image)
    _check_type(path, values.dtype)
    stored = values.reshape(shape.columns, shape.rows, shape.num_frames)  # (X, Y, T)
    shown, warnings = _to_unit_range(path, stored.T, image.header)  # (T, Y, X)
    frames = empty_frames((shape.num_frames, 1, shape.rows, shape.columns))
    frames[:, 0] = shown
    header = _header_as_stored(path, image)
    length, time = _units(header)
    spacing = _spacing_mm(header, length)
    times = _frame_times_ms(header, shape.num_frames, time) if len(image.shape) == 4 else None
    if len(image.shape) == 3 and shape.num_frames > 1:
        warnings.append("NIfTI keeps no time step for a third axis: (X, Y, 1, T) has one")
    return Clip(
        stored=frames,
        frame_times_ms=times,
        pixel_aspect=_pixel_aspect(header),
        frame_times_source="NIfTI header" if times is not None else "none",
        pixel_spacing_mm=spacing,
        spacing_source="NIfTI header" if spacing else "none",
        origin=tuple(FrameOrigin(path, index) for index in range(shape.num_frames)),
        warnings=tuple(warnings + _excess_warnings(path, image)),
        name=nifti_stem(path),
    )


def probe_nifti(path: Path) -> ClipShape:
    """Size of the clip, from the header."""
    return _clip_shape(path, open_nifti(path).shape)


def nifti_stem(path: Path) -> str:
    """File name without .nii or .nii.gz."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def open_nifti(path: Path) -> Any:  # nibabel has no types
    """Open without reading the values.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableStudyError: If it is not NIfTI.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        return nib.load(path)
    except Exception as error:  # nibabel leaks zlib, EOF, header and value errors
        raise UnreadableStudyError(path, f"no NIfTI in it ({type(error).__name__})") from error


def read_array(path: Path, image: Any) -> np.ndarray:
    """Values in their stored type unless the header scales them; axes as stored, X first (Fortran order).

    Raises:
        UnreadableStudyError: If values are missing, or the checksum of a .gz does not fit.
    """
    try:
        return _read_gzip(path, image) if path.name.lower().endswith(".gz") else np.asanyarray(image.dataobj)
    except (UnreadableStudyError, MemoryError):
        raise
    except Exception as error:  # as above
        raise UnreadableStudyError(path, f"its values are damaged or cut off ({type(error).__name__})") from error


def _read_gzip(path: Path, image: Any) -> np.ndarray:
    with gzip.open(path) as file:
        values = np.asanyarray(type(image).from_stream(file).dataobj)
        for _ in range(MAX_TRAILING_MEGABYTES):
            if not file.read(2**20):  # the checksum stands at the end; nibabel alone does not go there
                return values
    raise UnreadableStudyError(path, f"more than {MAX_TRAILING_MEGABYTES} MiB follow the values that its header counts")


def _clip_shape(path: Path, shape: tuple[int, ...]) -> ClipShape:
    frames = {2: (1,), 3: shape[2:], 4: shape[3:]}.get(len(shape))
    if frames is None or (len(shape) == 4 and shape[2] != 1):
        raise UnreadableStudyError(path, f"expected (X, Y), (X, Y, T) or (X, Y, 1, T), got {tuple(shape)}")
    clip_shape = ClipShape(int(frames[0]), int(shape[1]), int(shape[0]))
    check_size(path, clip_shape.num_frames, clip_shape.rows, clip_shape.columns)
    return clip_shape


def _check_type(path: Path, dtype: np.dtype) -> None:
    if dtype.names:
        raise UnreadableStudyError(path, "its values are colours: save grey values")
    if dtype.kind not in "biuf":
        raise UnreadableStudyError(path, f"its values must be real numbers, got {dtype}")


def _excess_warnings(path: Path, image: Any) -> list[str]:
    if path.name.lower().endswith(".gz"):
        return []
    stated = image.dataobj.offset + image.header.get_data_dtype().itemsize * int(np.prod(image.shape))
    excess = path.stat().st_size - stated
    return [f"{excess} bytes follow the values that the header says, and are left out"] if excess > 0 else []


def _to_unit_range(path: Path, values: np.ndarray, header: Any) -> tuple[np.ndarray, list[str]]:
    if not np.isfinite(values).all():
        raise UnreadableStudyError(path, "values must be finite, got NaN or infinity")
    if values.dtype == np.uint8:
        return apply_limits(values, 0.0, 255.0), []
    if values.dtype.kind == "f" and values.min() >= 0.0 and values.max() <= 1.0:
        return values.astype(np.float32), []
    lower, upper = float(header["cal_min"]), float(header["cal_max"])
    if upper > lower:
        return apply_limits(values, lower, upper), []
    lower, upper = percentile_window(values)
    warning = f"no display window: percentiles 0.5-99.5 used, {lower:g} to {upper:g}"
    return apply_limits(values, lower, upper), [warning]


def _header_as_stored(path: Path, image: Any) -> Any:
    """The header without nibabel's repairs: it turns a spacing of 0 into 1."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        return type(image.header).from_fileobj(file, check=False)


def _units(header: Any) -> tuple[float | None, float | None]:
    """Millimetres and milliseconds that the header's units stand for; None where they are not stated."""
    try:
        length, time = header.get_xyzt_units()
    except KeyError:  # a code that NIfTI does not define
        return None, None
    return MILLIMETRES.get(length), MILLISECONDS.get(time)


def _spacing_mm(header: Any, unit: float | None) -> tuple[float, float] | None:
    columns, rows = (float(size) for size in header["pixdim"][1:3])
    is_usable = np.isfinite((rows, columns)).all() and min(rows, columns) > 0
    return (rows * unit, columns * unit) if unit is not None and is_usable else None


def _pixel_aspect(header: Any) -> float:
    """Height of a pixel divided by its width, also where the unit is not stated; 1 where the sizes are not usable."""
    spacing = _spacing_mm(header, 1.0)
    return 1.0 if spacing is None else spacing[0] / spacing[1]


def _frame_times_ms(header: Any, num_frames: int, unit: float | None) -> np.ndarray | None:
    step = float(header["pixdim"][4])
    if unit is None or not np.isfinite(step) or step <= 0:
        return None
    return np.arange(num_frames, dtype=np.float64) * step * unit
