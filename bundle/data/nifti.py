"""NIfTI clips ``(X, Y, 1, T)``, ``(X, Y, T)`` and images ``(X, Y)``, in stored order: no flip by the affine."""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bundle.data.clip import (
    DISPLAY_WINDOW_PERCENT,
    Clip,
    ClipShape,
    FrameOrigin,
    UnreadableStudyError,
    apply_limits,
    check_frame,
    damage_refused,
)
from bundle.data.frame_stream import ClipStart, FrameStream, PassedFrames, StreamedFrame

MILLISECONDS = {"sec": 1000.0, "msec": 1.0, "usec": 1e-3}
MILLIMETERS = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3}
MAX_TRAILING_MEGABYTES = 64
DAMAGED_VALUES = "its values are damaged or cut off ({})"
BLOCK_BYTES = 2**22  # Of values that are read at a time
SAMPLED_VALUES = 1_000_000  # Of which percentiles are taken, over the whole clip, so that brightness does not flicker


def stream_nifti(path: Path) -> FrameStream:
    """Frames, spacing and times; uint8 is shown as it is, other values by cal_min/cal_max or percentiles.

    Other values than uint8 are read twice, first for their range.

    Raises:
        UnreadableStudyError: If the file is damaged or has other axes than X, Y and time.
    """
    image = open_nifti(path)
    shape = _clip_shape(path, image.shape)
    header = _header_as_stored(path, image)
    length, time = _units(header)
    spacing = _spacing_mm(header, length)
    aspect, dtype = _pixel_aspect(header), np.dtype(np.float32)
    limits, warnings = _limits(path, image, shape)
    yield ClipStart(
        path, shape.num_frames, shape.rows, shape.columns, dtype, aspect, spacing is not None, is_film=False
    )
    for block in _blocks(path, image, shape):
        for frame in block.astype(np.float32) if limits is None else apply_limits(block, *limits):
            yield StreamedFrame(frame)
    times = _frame_times_ms(header, shape.num_frames, time) if len(image.shape) == 4 else None
    if len(image.shape) == 3 and shape.num_frames > 1:
        warnings.append("NIfTI keeps no time step for a third axis: (X, Y, 1, T) has one")
    return Clip(
        stored=PassedFrames((shape.num_frames, 1, shape.rows, shape.columns), dtype),
        frame_times_ms=times,
        pixel_aspect=aspect,
        frame_times_source="NIfTI header" if times is not None else "none",
        pixel_spacing_mm=spacing,
        spacing_source="NIfTI header" if spacing else "none",
        origin=tuple(FrameOrigin(path, index) for index in range(shape.num_frames)),
        warnings=tuple(warnings + _excess_warnings(path, image)),
        name=re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE),
    )


def probe_nifti(path: Path) -> ClipShape:
    """Size of the clip, from the header."""
    return _clip_shape(path, open_nifti(path).shape)


def open_nifti(path: Path) -> Any:  # nibabel has no types
    """Open without reading the values."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with damage_refused(path, "no NIfTI in it ({})"):  # nibabel leaks zlib, EOF, header and value errors
        return nib.load(path)


def read_array(path: Path, image: Any) -> np.ndarray:
    """Values in their stored type unless the header scales them; axes as stored, X first (Fortran order)."""
    with damage_refused(path, DAMAGED_VALUES), _open_values(path, image) as values:
        return np.asanyarray(values)


@contextmanager
def _open_values(path: Path, image: Any) -> Iterator[Any]:
    """What gives the values, in the file's order, when it is sliced; the checksum of a .gz is compared at the end."""
    if not path.name.lower().endswith(".gz"):
        yield image.dataobj
        return
    with gzip.open(path) as file:
        yield type(image).from_stream(file).dataobj
        for _ in range(MAX_TRAILING_MEGABYTES):
            if not file.read(2**20):  # the checksum stands at the end; nibabel alone does not go there
                return
    raise UnreadableStudyError(path, f"more than {MAX_TRAILING_MEGABYTES} MiB follow the values that its header counts")


def _blocks(path: Path, image: Any, shape: ClipShape) -> Iterator[np.ndarray]:
    """Values ``(n, H, W)``, a few frames at a time."""
    step = max(1, BLOCK_BYTES // (shape.rows * shape.columns * image.header.get_data_dtype().itemsize))
    with damage_refused(path, DAMAGED_VALUES), _open_values(path, image) as values:
        for first in range(0, shape.num_frames, step):
            is_still = len(image.shape) == 2
            block = np.asanyarray(values if is_still else values[..., first : first + step])
            yield block.reshape(shape.columns, shape.rows, -1).T  # (X, Y, n) -> (n, Y, X)


def _clip_shape(path: Path, shape: tuple[int, ...]) -> ClipShape:
    frames = {2: (1,), 3: shape[2:], 4: shape[3:]}.get(len(shape))
    if frames is None or (len(shape) == 4 and shape[2] != 1):
        raise UnreadableStudyError(path, f"expected (X, Y), (X, Y, T) or (X, Y, 1, T), got {tuple(shape)}")
    clip_shape = ClipShape(int(frames[0]), int(shape[1]), int(shape[0]))
    check_frame(path, *clip_shape)
    return clip_shape


def _excess_warnings(path: Path, image: Any) -> list[str]:
    if path.name.lower().endswith(".gz"):
        return []
    stated = image.dataobj.offset + image.header.get_data_dtype().itemsize * int(np.prod(image.shape))
    excess = path.stat().st_size - stated
    return [f"{excess} bytes follow the values that the header says, and are left out"] if excess > 0 else []


def _limits(path: Path, image: Any, shape: ClipShape) -> tuple[tuple[float, float] | None, list[str]]:
    """Values that become 0 and 1, None for such as are shown as they are, and warnings."""
    step = max(1, shape.num_pixels // SAMPLED_VALUES) | 1  # odd: not always one column
    lowest, highest, num_values = np.inf, -np.inf, 0
    sample: list[np.ndarray] = []
    for block in _blocks(path, image, shape):
        if block.dtype.names:
            raise UnreadableStudyError(path, "its values are colors: save gray values")
        if block.dtype.kind not in "biuf":
            raise UnreadableStudyError(path, f"its values must be real numbers, got {block.dtype}")
        if block.dtype == np.uint8:
            return (0.0, 255.0), []
        if not np.isfinite(block).all():
            raise UnreadableStudyError(path, "values must be finite, got NaN or infinity")
        lowest, highest = min(lowest, float(block.min())), max(highest, float(block.max()))
        sample.append(block.reshape(-1)[-num_values % step :: step].copy())
        num_values += block.size
    if sample[0].dtype.kind == "f" and lowest >= 0.0 and highest <= 1.0:
        return None, []
    lower, upper = float(image.header["cal_min"]), float(image.header["cal_max"])
    if upper > lower:
        return (lower, upper), []
    lower, upper = (float(limit) for limit in np.percentile(np.concatenate(sample), DISPLAY_WINDOW_PERCENT))
    return (lower, upper), [f"no display window: percentiles 0.5-99.5 used, {lower:g} to {upper:g}"]


def _header_as_stored(path: Path, image: Any) -> Any:
    """The header without nibabel's repairs: it turns a spacing of 0 into 1."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        return type(image.header).from_fileobj(file, check=False)


def _units(header: Any) -> tuple[float | None, float | None]:
    """Millimeters and milliseconds that the header's units stand for; None where they are not stated."""
    try:
        length, time = header.get_xyzt_units()
    except KeyError:  # a code that NIfTI does not define
        return None, None
    return MILLIMETERS.get(length), MILLISECONDS.get(time)


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
