"""Pictures of a real film with its masks: for looking at, in a folder outside the project's files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from bundle.atomic import atomic_path
from bundle.inference.overlay import OverlayPainter
from bundle.transforms.field_of_view import Window
from bundle.workflows.stages import ROOT


def check_folder(folder: Path, root: Path = ROOT) -> None:
    """Refuse a folder of the project that Git does not ignore.

    Raises:
        ValueError: If pictures of a real film would lie among the project's files.
    """
    if folder.resolve().is_relative_to(root) and not folder.resolve().is_relative_to(root / "runs"):
        raise ValueError(
            f"pictures of a real film must not lie among the project's files, got {folder}: "
            "give a folder in runs/, or one outside the project"
        )


def draw_frames(
    painter: OverlayPainter, masks: Mapping[int, np.ndarray], view: Window, folder: Path, name: str
) -> list[Path]:
    """Draw frames with their masks, each as large as the part that the network looks at.

    Args:
        painter: Of the film.
        masks: ``(S, H, W)`` bool by frame.
        view: Part of the frames to show.
        folder: Gets ``<name>_<frame>.png``, with spaces and commas of the name left out.
        name: What was done to the frames.
    """
    scale = painter.height / painter.clip.shape.rows
    top, bottom, left, right = (round(edge * scale) for edge in view)
    stem = name.replace(",", "").replace(" ", "_")
    paths = []
    for index, frame_masks in masks.items():
        picture = painter.draw(index, frame_masks)[top:bottom, left:right]
        paths.append(folder / f"{stem}_{index:04d}.png")
        with atomic_path(paths[-1]) as path:
            Image.fromarray(picture).save(path)
    return paths
