"""Masks as outlines in the page: closed polygons that a canvas fills and strokes, sharp at every size.

An outline runs between the pixels of a mask and the others, at most ``TOLERANCE`` pixels beside the stairs.
"""

import numpy as np
from skimage.measure import approximate_polygon, find_contours

from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.report.ragged import MOST_EDGES, edge_limit, num_edges, simplified

UNITS = 4
"""Coordinates are whole numbers of 1 / UNITS of a pixel of the picture."""

TOLERANCE = 0.5
"""Largest distance, in pixels of the mask or the picture, whichever is larger, between outline and its polygon."""


SMALL = 9
"""Points of a ring that is kept as it is: that of two pixels has seven."""


def outlines(
    masks: MaskFrames, scale: tuple[float, float], most_edges: int = MOST_EDGES
) -> tuple[list[list[str]], int]:
    """Outlines of all masks of a clip, and how many of the masks are too ragged and so are drawn simplified.

    Args:
        masks: ``(T, S, H, W)`` bool.
        scale: Pixels of the picture per pixel of a mask, along rows and columns.
        most_edges: Sides of pixels along all outlines together.
    """
    edges = [[num_edges(mask) for mask in frame] for frame in masks]
    limit = edge_limit((number for frame in edges for number in frame), most_edges)

    def draw(mask: np.ndarray, number: int) -> str:
        if number <= limit:
            return outline(mask, scale)
        simpler, side = simplified(mask, limit)
        return outline(simpler, (scale[0] * side, scale[1] * side))

    drawn = [
        [draw(mask, number) for mask, number in zip(frame, numbers, strict=True)]
        for frame, numbers in zip(masks, edges, strict=True)
    ]
    return drawn, sum(number > limit for frame in edges for number in frame)


def outline(mask: np.ndarray, scale: tuple[float, float]) -> str:
    """Outline of one mask as SVG path data, to be filled by the even-odd rule; empty where the mask is.

    Args:
        mask: ``(H, W)`` bool.
        scale: Pixels of the picture per pixel of the mask, along rows and columns.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return ""
    window = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1).astype(float)
    corner = np.array([rows[0], columns[0]]) - 1 + 0.5  # a pixel's centre is half a pixel from its edge
    tolerance = TOLERANCE / min(1.0, *scale)
    polygons = (_simplified(ring, tolerance) + corner for ring in find_contours(window, 0.5))
    return "".join(_path(np.round(polygon * scale * UNITS).astype(int)) for polygon in polygons)


def anchor(mask: np.ndarray, scale: tuple[float, float]) -> list[int] | None:
    """Where a structure's letters stand: the (x, y), in the outlines' units, of its pixel next to the centroid."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    place = (columns[nearest] + 0.5) * scale[1] * UNITS, (rows[nearest] + 0.5) * scale[0] * UNITS
    return [round(place[0]), round(place[1])]


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Fewer points, but never so few that a small island vanishes."""
    if len(ring) <= SMALL:
        return ring  # noise is many such rings, and simplifying takes longest
    polygon = approximate_polygon(ring, tolerance)
    return polygon if len(polygon) > 3 else ring


def _path(points: np.ndarray) -> str:
    """A closed ring of (row, column) points as a move and relative lines."""
    steps = np.diff(points[:-1], axis=0)
    lines = " ".join(f"{column} {row}" for row, column in steps)
    return f"M{points[0, 1]} {points[0, 0]}l{lines}z"
