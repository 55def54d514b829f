"""Masks as 8-bit PNG, one folder per structure: ImageJ opens a folder as a stack."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from bundle.data.clip import Clip
from bundle.inference.sidecar import check_masks
from bundle.metrics.atomic import atomic_folder, write_csv


def write_pngs(
    masks: np.ndarray, clip: Clip, structures: Sequence[str], folder: str | Path, progress: bool = False
) -> list[Path]:
    """Write ``<folder>/<structure>/frame_00001.png`` ..., 0 and 255; the number counts from 1.

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
    with atomic_folder(folder) as temporary:
        for index, name in enumerate(tqdm(structures, desc="PNG", unit="structure", disable=not progress, leave=False)):
            (temporary / name).mkdir()
            for frame, mask in enumerate(masks[:, index], start=1):
                pixels = np.where(mask, np.uint8(255), np.uint8(0))
                Image.fromarray(pixels).save(temporary / name / f"frame_{frame:05d}.png", compress_level=1)
    return [Path(folder) / name for name in structures]


def write_areas(masks: np.ndarray, clip: Clip, structures: Sequence[str], path: str | Path) -> Path:
    """Write a table with the area of every structure in every frame, in pixels.

    Args:
        masks: ``(T, S, H, W)``, 0 or 1.
        clip: What was segmented.
        structures: Names of the channels, in order.
        path: CSV file; ``frame`` counts from 1, ``time_ms`` is empty where the clip has no times.
    """
    check_masks(masks, clip, structures)
    areas = np.stack([np.count_nonzero(frame, axis=(1, 2)) for frame in masks])  # (T, S)
    times = [None] * clip.num_frames if clip.frame_times_ms is None else clip.frame_times_ms.tolist()
    columns = [f"{name}_px" for name in structures]
    rows = (
        {"frame": index + 1, "time_ms": time, **dict(zip(columns, area.tolist(), strict=True))}
        for index, (time, area) in enumerate(zip(times, areas, strict=True))
    )
    return write_csv(path, ["frame", "time_ms", *columns], rows)
