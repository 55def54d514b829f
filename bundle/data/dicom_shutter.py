"""The part of a frame that Display Shutter leaves visible (PS3.3 C.7.6.11)."""

import numpy as np
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from bundle.data.dicom_header import find, functional_groups


def shutter_varies_by_frame(dataset: Dataset) -> bool:
    """Whether an enhanced object has a shutter of its own for every frame."""
    own = functional_groups(dataset, 0)[:1] if dataset.get("PerFrameFunctionalGroupsSequence") else []
    return any("FrameDisplayShutterSequence" in group for group in own)


def visible_pixels(dataset: Dataset, rows: int, columns: int, warnings: list[str], frame: int = 0) -> np.ndarray | None:
    """Pixels inside every shutter of a frame's header, bool ``(H, W)``; None without a shutter.

    The pixel on a shutter's edge is visible. A shutter that would hide every pixel is left out with a warning, and so
    is one of another shape than rectangular, circular and polygonal.
    """
    shapes = find(dataset, "ShutterShape", frame)
    if shapes in (None, ""):
        return None
    makers = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}
    visible = np.ones((rows, columns), bool)
    for shape in [shapes] if isinstance(shapes, str) else list(shapes):
        if shape in makers:
            visible &= makers[shape](dataset, rows, columns, frame)
        else:
            warnings.append("a shutter of a shape that is not read is left out")
    if not visible.any():
        warnings.append("the shutter hides every pixel: it is left out")
        return None
    return None if visible.all() else visible


def _rectangle(dataset: Dataset, rows: int, columns: int, frame: int) -> np.ndarray:
    left, right = (int(find(dataset, f"Shutter{side}VerticalEdge", frame)) for side in ("Left", "Right"))
    upper, lower = (int(find(dataset, f"Shutter{side}HorizontalEdge", frame)) for side in ("Upper", "Lower"))
    inside = np.zeros((rows, columns), bool)
    inside[max(0, upper - 1) : max(0, lower), max(0, left - 1) : max(0, right)] = True  # the header counts from 1
    return inside


def _circle(dataset: Dataset, rows: int, columns: int, frame: int) -> np.ndarray:
    row, column = (int(value) for value in find(dataset, "CenterOfCircularShutter", frame))
    radius = int(find(dataset, "RadiusOfCircularShutter", frame))
    distance = np.hypot(np.arange(rows)[:, None] - (row - 1), np.arange(columns)[None] - (column - 1))
    return distance <= radius


def _polygon(dataset: Dataset, rows: int, columns: int, frame: int) -> np.ndarray:
    corners = (
        np.array([int(value) for value in find(dataset, "VerticesOfThePolygonalShutter", frame)]).reshape(-1, 2) - 1
    )
    picture = Image.new("1", (columns, rows))
    ImageDraw.Draw(picture).polygon([(int(column), int(row)) for row, column in corners], fill=1, outline=1)
    return np.array(picture, bool)
