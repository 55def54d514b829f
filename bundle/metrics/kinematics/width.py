"""Width of a mask at right angles to its own long axis, finer than a pixel."""

from dataclasses import dataclass

import numpy as np

SUB_PIXELS = np.stack(np.meshgrid([-1 / 3, 0.0, 1 / 3], [-1 / 3, 0.0, 1 / 3])).reshape(2, 9)
"""Offsets (x, y) of nine points in a pixel from its centre."""

NUM_SLICES = 6
MIDDLE = (0.25, 0.75)
"""Part of the mask's height that is measured: its ends belong to what lies above and below."""

NUM_TURNS = 2


@dataclass(frozen=True)
class WidthProfile:
    """Widths of the middle half of a mask.

    Attributes:
        widths: Mean width of each slice from one end to the other ``(6,)``, in widths of a pixel.
        crossed_pixels: How many lines of pixels the mask's axis crosses over these slices. With less than one or two,
            straight walls run along the grid and a width is known to a whole pixel only.
    """

    widths: np.ndarray
    crossed_pixels: float


def width_profile(mask: np.ndarray, up: np.ndarray, pixel_aspect: float = 1.0) -> WidthProfile:
    """Widths of slices across a mask: area over height of each, at right angles to its axis.

    The axis starts as ``up`` and is turned to the line through the middles of the slices.

    Args:
        mask: ``(H, W)`` bool, not empty.
        up: Unit vector (x, y) ``(2,)`` roughly along the mask.
        pixel_aspect: Height of a pixel divided by its width.
    """
    rows, columns = np.nonzero(mask)
    stretch = np.array([1.0, pixel_aspect])[:, None, None]
    points = (np.stack([columns, rows])[:, :, None] + SUB_PIXELS[:, None, :]) * stretch
    points = points.reshape(2, -1)
    axis = np.asarray(up, float)
    for _ in range(NUM_TURNS):
        axis = _turned(axis, points)
    edges = _edges(axis @ points, axis, pixel_aspect)
    counts = np.histogram(axis @ points, edges)[0]
    span = edges[-1] - edges[0]
    crossed = span * min(abs(axis[0]), abs(axis[1]) / pixel_aspect)
    return WidthProfile(counts * pixel_aspect / (SUB_PIXELS.shape[1] * np.diff(edges)), float(crossed))


def narrowest(widths: np.ndarray) -> float:
    """Smallest width of a profile ``(6,)``, on the parabola that fits it best: every slice has a say."""
    place = np.linspace(-1.0, 1.0, len(widths))
    return float(np.polyval(np.polyfit(place, widths, 2), np.linspace(-1.0, 1.0, 41)).min())


def _edges(along: np.ndarray, axis: np.ndarray, pixel_aspect: float) -> np.ndarray:
    """Edges of the slices of the middle; ``along`` are the points' places along the axis."""
    margin = (abs(axis[0]) + abs(axis[1]) * pixel_aspect) / 6  # from the outermost points to the pixels' corners
    low, high = along.min() - margin, along.max() + margin
    return low + (high - low) * np.linspace(*MIDDLE, NUM_SLICES + 1)


def _turned(axis: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The axis turned along the points' middles, over the middle of their height."""
    across = np.array([-axis[1], axis[0]])
    along = axis @ points
    middle = (along >= np.quantile(along, MIDDLE[0])) & (along <= np.quantile(along, MIDDLE[1]))
    offset = along[middle] - along[middle].mean()
    spread = float((offset**2).sum())
    slope = float(offset @ (across @ points[:, middle])) / spread if spread > 0 else 0.0
    turned = axis + slope * across
    return turned / np.linalg.norm(turned)
