"""PNG and JPEG: one picture is a clip of one frame, a folder of them is a clip in natural order."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bundle.data.clip import Clip, ClipShape, FrameOrigin, UnreadableStudyError, check_size

STILL_SUFFIXES = (".png", ".jpg", ".jpeg")
FULL_SCALE = {"L": 255.0, "I;16": 65535.0, "I;16B": 65535.0, "I": 65535.0}  # Pillow's modes of grayscale PNG and JPEG
GREY_TOLERANCE = 8  # of 255: JPEG moves the channels of a grey capture apart by a few values


def read_stills(paths: Sequence[Path], name: str, warnings: Sequence[str] = ()) -> Clip:
    """Read pictures as the frames of one clip, in the order given.

    Raises:
        UnreadableStudyError: If a picture cannot be decoded, or sizes differ.
    """
    first = probe_still(paths[0])
    check_size(paths[0], len(paths), first.rows, first.columns)
    frames = np.empty((len(paths), 1, first.rows, first.columns), np.float32)
    notes = list(warnings)
    for index, path in enumerate(paths):
        frame, note = _read_grey(path)
        if frame.shape != (first.rows, first.columns):
            raise UnreadableStudyError(
                path,
                f"{frame.shape[0]} x {frame.shape[1]} pixels, but {paths[0].name} of the same clip has "
                f"{first.rows} x {first.columns}: a clip needs frames of one size",
            )
        frames[index, 0] = frame
        notes += [note] if note else []
    return Clip(
        frames=frames,
        frame_times_ms=None,
        pixel_spacing_mm=None,
        spacing_source="none",
        origin=tuple(FrameOrigin(path, 0) for path in paths),
        warnings=tuple(dict.fromkeys(notes)),
        name=name,
    )


def probe_still(path: Path) -> ClipShape:
    """Size of one picture, from its header."""
    with _open(path) as picture:
        return ClipShape(1, picture.height, picture.width)


def natural_order(paths: Sequence[Path]) -> list[Path]:
    """Sort by name with numbers as numbers: frame2 comes before frame10."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", path.name.lower())
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

    return sorted(paths, key=key)


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableStudyError(path, f"no PNG or JPEG in it ({type(error).__name__})") from error


def _read_grey(path: Path) -> tuple[np.ndarray, str]:  # -> (H, W) in [0, 1], warning or ""
    with _open(path) as picture:
        check_size(path, 1, picture.height, picture.width)
        full_scale = FULL_SCALE.get(picture.mode)
        try:
            values = np.asarray(picture if full_scale else picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableStudyError(path, f"its pixels are damaged or cut off ({error})") from error
    if full_scale is None:
        return _colour_to_grey(values)
    note = ""
    if full_scale > 255 and 0 < values.max() < 4096:
        note = "16-bit pictures use at most 12 of their bits and will look dark; rescale them if 4095 means white"
    return values.astype(np.float32) / np.float32(full_scale), note


def _colour_to_grey(rgb: np.ndarray) -> tuple[np.ndarray, str]:  # (H, W, 3) uint8
    grey = luminance(rgb) / np.float32(255)
    coloured = float((np.ptp(rgb.astype(np.int16), axis=-1) > GREY_TOLERANCE).mean())
    return grey, colour_warning(coloured)


def luminance(rgb: np.ndarray) -> np.ndarray:  # (H, W, 3) -> (H, W)
    """Weighted sum of red, green and blue, ITU-R BT.601; equal channels give their value."""
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def colour_warning(share: float) -> str:
    """Words for a frame of which this share of pixels is not grey; empty for none."""
    return f"coloured pixels (up to {100 * share:.1f} %) were turned to grey by their luminance" if share else ""
