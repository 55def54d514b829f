"""Masks as 8-bit PNG, one folder per structure: ImageJ opens a folder as a stack."""

import io
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from bundle.atomic import atomic_folder, write_csv
from bundle.data.clip import Clip
from bundle.inference.sidecar import check_masks
from bundle.metrics.kinematics.clip_masks import MaskFrames

END_OF_HEADER = 33
"""Bytes of a PNG's signature and of its first chunk, IHDR."""


def write_pngs(
    masks: MaskFrames, clip: Clip, structures: Sequence[str], folder: str | Path, progress: bool = False
) -> list[Path]:
    """Write ``<folder>/<structure>/frame_00001.png`` ..., 0 and 255; the number counts from 1.

    Pictures are on the clip's grid. Where its pixels are not square, a pHYs chunk states their shape.

    Args:
        masks: ``(T, S, H, W)``, 0 or 1.
        clip: What was segmented.
        structures: Names of the channels, in order; plain names, since they become folders.
        folder: Written as a whole; an earlier one is replaced.
        progress: Whether to show a progress bar.

    Returns:
        One folder per structure.

    Raises:
        ValueError: If the masks do not fit the clip or a name cannot be a folder.
    """
    check_masks(masks, clip, structures)
    unusable = [name for name in structures if Path(name).name != name or name in ("", ".", "..")]
    if unusable:
        raise ValueError(f"structures must be names that a folder can have, got {unusable}")
    empty = _encode(np.zeros((clip.shape.rows, clip.shape.columns), np.uint8), clip.pixel_aspect)
    with atomic_folder(folder) as temporary:
        for name in structures:
            (temporary / name).mkdir()
        bar = tqdm(masks, desc="PNG", unit="frame", disable=not progress, leave=False)
        for number, frame in enumerate(bar, start=1):
            for name, mask in zip(structures, frame, strict=True):
                data = _encode(mask * np.uint8(255), clip.pixel_aspect) if mask.any() else empty
                (temporary / name / f"frame_{number:05d}.png").write_bytes(data)
    return [Path(folder) / name for name in structures]


def write_areas(masks: MaskFrames, clip: Clip, structures: Sequence[str], path: str | Path) -> Path:
    """Write a table with the area of every structure in every frame, in pixels.

    Args:
        masks: ``(T, S, H, W)``, 0 or 1.
        clip: What was segmented.
        structures: Names of the channels, in order.
        path: CSV file; ``frame`` counts from 1, ``time_ms`` is empty where the clip has no times.
    """
    check_masks(masks, clip, structures)
    areas = np.array([[np.count_nonzero(mask) for mask in frame] for frame in masks])  # (T, S)
    times = [None] * clip.num_frames if clip.frame_times_ms is None else clip.frame_times_ms.tolist()
    columns = [f"{name}_px" for name in structures]
    rows = (
        {"frame": index + 1, "time_ms": time, **dict(zip(columns, area.tolist(), strict=True))}
        for index, (time, area) in enumerate(zip(times, areas, strict=True))
    )
    return write_csv(path, ["frame", "time_ms", *columns], rows)


def _encode(pixels: np.ndarray, pixel_aspect: float) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue() if pixel_aspect == 1 else _with_aspect(file.getvalue(), pixel_aspect)


def _with_aspect(png: bytes, pixel_aspect: float) -> bytes:
    """Insert a pHYs chunk of unit 0, "ratio only", which Pillow cannot, behind the header (PNG specification, pHYs)."""
    ratio = Fraction(pixel_aspect).limit_denominator(10_000)
    body = b"pHYs" + struct.pack(">IIB", ratio.numerator, ratio.denominator, 0)  # pixels per unit across, then down
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:END_OF_HEADER] + chunk + png[END_OF_HEADER:]
