"""NIfTI clips ``(X, Y, 1, T)``, ``(X, Y, T)`` and images ``(X, Y)``, in stored order: no flip by the affine."""

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

NIFTI_SUFFIXES = (".nii", ".nii.gz")
MILLISECONDS = {"sec": 1000.0, "msec": 1.0, "usec": 1e-3}


def read_nifti(path: Path) -> Clip:
    """Read frames, spacing and times; uint8 is shown as it is, other values by cal_min/cal_max or percentiles.

    Raises:
        UnreadableStudyError: If the file is damaged or has other axes than X, Y and time.
    """
    image = open_nifti(path)
    shape = _clip_shape(path, image.shape)
    check_size(path, shape.num_frames, shape.rows, shape.columns)
    stored = read_array(path, image).reshape(shape.columns, shape.rows, shape.num_frames)  # (X, Y, T)
    frames, warnings = _to_unit_range(path, stored.T, image.header)  # (T, Y, X)
    spacing = _spacing_mm(image.header)
    return Clip(
        frames=np.ascontiguousarray(frames[:, None]),
        frame_times_ms=_frame_times_ms(image, shape.num_frames),
        pixel_spacing_mm=spacing,
        spacing_source="NIfTI header" if spacing else "none",
        origin=tuple(FrameOrigin(path, index) for index in range(shape.num_frames)),
        warnings=warnings,
        name=nifti_stem(path),
    )


def probe_nifti(path: Path) -> ClipShape:
    """Size of the clip, from the header."""
    return _clip_shape(path, open_nifti(path).shape)


def nifti_stem(path: Path) -> str:
    """File name without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


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
    """Values in their stored type unless the header scales them; axes as stored, X first (Fortran order)."""
    try:
        return np.asanyarray(image.dataobj)
    except Exception as error:  # as above
        raise UnreadableStudyError(path, f"its values are damaged or cut off ({type(error).__name__})") from error


def _clip_shape(path: Path, shape: tuple[int, ...]) -> ClipShape:
    if len(shape) == 2:
        return ClipShape(1, shape[1], shape[0])
    if len(shape) == 3:
        return ClipShape(shape[2], shape[1], shape[0])
    if len(shape) == 4 and shape[2] == 1:
        return ClipShape(shape[3], shape[1], shape[0])
    raise UnreadableStudyError(path, f"expected (X, Y), (X, Y, T) or (X, Y, 1, T), got {tuple(shape)}")


def _to_unit_range(path: Path, values: np.ndarray, header: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    if not np.isfinite(values).all():
        raise UnreadableStudyError(path, "values must be finite, got NaN or infinity")
    if values.dtype == np.uint8:
        return apply_limits(values, 0.0, 255.0), ()
    if values.dtype.kind == "f" and values.min() >= 0.0 and values.max() <= 1.0:
        return values.astype(np.float32), ()
    lower, upper = float(header["cal_min"]), float(header["cal_max"])
    if upper > lower:
        return apply_limits(values, lower, upper), ()
    lower, upper = percentile_window(values)
    warning = f"no display window: percentiles 0.5-99.5 used, {lower:g} to {upper:g}"
    return apply_limits(values, lower, upper), (warning,)


def _spacing_mm(header: Any) -> tuple[float, float] | None:
    columns, rows = (float(zoom) for zoom in header.get_zooms()[:2])
    is_stated = header.get_xyzt_units()[0] == "mm" and rows > 0 and columns > 0
    return (rows, columns) if is_stated else None


def _frame_times_ms(image: Any, num_frames: int) -> np.ndarray | None:
    unit = MILLISECONDS.get(image.header.get_xyzt_units()[1])
    zooms = image.header.get_zooms()
    step = float(zooms[-1]) if len(zooms) in (3, 4) else 0.0
    if unit is None or step <= 0:
        return None
    return np.arange(num_frames, dtype=np.float64) * step * unit
