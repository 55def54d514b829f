"""Masks as outlines in the page: closed polygons that a canvas fills and strokes; ragged masks are drawn simpler."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.ndimage import label

from bundle.metrics.cropped import CroppedMask, crop_mask, cropped
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.report.rings import rings_around, with_fewer_points

# Sides of pixels along all outlines of a page, 7 bytes each at most. True masks of 512 x 512 have 4200 a frame.
MOST_EDGES = 2_000_000
SPECK_PIXELS = 16  # parts and holes of a ragged mask below this size are not drawn, but for its largest part
UNITS = 4  # coordinates are whole numbers of 1 / UNITS of a pixel of the picture
# Largest distance, in pixels of the mask or the picture, whichever is larger, between outline and its polygon.
TOLERANCE = 0.5
SMALL = 9  # points of a ring that is kept as it is: that of two pixels has seven


def num_edges(mask: np.ndarray) -> int:
    """Sides of pixels between a mask ``(H, W)`` and what is not in it, without those along the picture's border."""
    return int(np.count_nonzero(mask[:, 1:] != mask[:, :-1]) + np.count_nonzero(mask[1:] != mask[:-1]))


def edge_limit(edges: Iterable[int], most_edges: int = MOST_EDGES) -> float:
    """Edges that one mask may have, so that all together have at most ``most_edges``; infinite where they fit anyway.

    Masks with few edges leave their share to others, so noise in one structure costs the others nothing.
    """
    ascending = np.sort(np.fromiter(edges, float))
    if ascending.sum() <= most_edges:
        return float("inf")
    smaller = np.concatenate([[0.0], np.cumsum(ascending)[:-1]])
    shares = (most_edges - smaller) / np.arange(len(ascending), 0, -1)
    return float(shares[np.argmax(ascending > shares)])


def simplified(mask: np.ndarray, most_edges: float) -> tuple[np.ndarray, int]:
    """A mask with fewer edges: without specks and, if these are still too many, on a coarser grid.

    Args:
        mask: ``(H, W)`` bool.
        most_edges: What the result may have; more only if it would vanish otherwise.

    Returns:
        The mask and the side of its pixels in pixels of the given one: 1, 2, 4 ...
    """
    simpler, side = ~_without_specks(~_without_specks(mask)), 1
    while num_edges(simpler) > most_edges:
        coarser = _halved(simpler)
        if not coarser.any():
            break
        simpler, side = coarser, 2 * side
    return simpler, side


def _without_specks(mask: np.ndarray) -> np.ndarray:
    parts, num_parts = label(mask)
    if num_parts < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    is_kept = sizes >= SPECK_PIXELS
    is_kept[np.argmax(sizes)] = True
    return is_kept[parts]


def _halved(mask: np.ndarray) -> np.ndarray:
    """Half as many rows and columns, set where at least half of the four pixels are."""
    rows, columns = mask.shape
    even = np.pad(mask, ((0, rows % 2), (0, columns % 2)))
    return even.reshape((rows + 1) // 2, 2, (columns + 1) // 2, 2).sum(axis=(1, 3)) >= 2


def outlines(
    masks: MaskFrames, scale: tuple[float, float], most_edges: int = MOST_EDGES
) -> tuple[list[list[str]], int]:
    """Outlines of all masks of a clip, and how many of the masks are too ragged and so are drawn simplified."""
    edges = [[_num_edges(part, masks.shape[2:]) for part in cropped(masks, frame)] for frame in range(len(masks))]
    limit = edge_limit((number for frame in edges for number in frame), most_edges)
    drawn = []
    for frame, numbers in enumerate(edges):
        of_frame = _outlines(cropped(masks, frame), scale)
        for structure in (index for index, number in enumerate(numbers) if number > limit):
            simpler, side = simplified(np.asarray(masks[frame, structure]), limit)
            of_frame[structure] = outline(simpler, (scale[0] * side, scale[1] * side))
        drawn.append(of_frame)
    return drawn, sum(number > limit for frame in edges for number in frame)


def outline(mask: np.ndarray, scale: tuple[float, float]) -> str:
    """Outline of one mask as SVG path data, to be filled by the even-odd rule; empty where the mask is.

    Args:
        mask: ``(H, W)`` bool.
        scale: Pixels of the picture per pixel of the mask, along rows and columns.
    """
    return _outlines([crop_mask(mask)], scale)[0]


def _outlines(parts: Sequence[CroppedMask], scale: tuple[float, float]) -> list[str]:
    """Of several masks, whose rings are simplified all at once."""
    found = [rings_around(part.pixels) for part in parts]
    corners = [np.array([part.top, part.left]) + 0.5 for part in parts]  # of a pixel, from its center
    rings = [ring + corner for of_mask, corner in zip(found, corners, strict=True) for ring in of_mask]
    pairs = zip(rings, with_fewer_points(rings, TOLERANCE / min(1.0, *scale)), strict=True)
    # Never so few that a small island vanishes.
    kept = iter([ring if len(ring) <= SMALL or len(fewer) <= 3 else fewer for ring, fewer in pairs])
    scales = np.array(scale) * UNITS
    return ["".join(_path(np.round(next(kept) * scales).astype(int)) for _ in of_mask) for of_mask in found]


def _num_edges(part: CroppedMask, shape: Sequence[int]) -> int:
    """Of the whole mask, whose rows and columns are ``shape``."""
    pixels, (rows, columns) = part.pixels, part.box
    sides = [
        (rows.start > 0, pixels[:1]),
        (rows.stop < shape[0], pixels[-1:]),
        (columns.start > 0, pixels[:, :1]),
        (columns.stop < shape[1], pixels[:, -1:]),
    ]
    return num_edges(pixels) + sum(int(np.count_nonzero(side)) for is_inside, side in sides if is_inside)


def anchor(part: CroppedMask, scale: tuple[float, float]) -> list[int] | None:
    """Where a structure's letters stand: the (x, y), in the outlines' units, of its pixel next to the centroid."""
    rows, columns = np.nonzero(part.pixels)
    if not len(rows):
        return None
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    x, y = part.left + int(columns[nearest]) + 0.5, part.top + int(rows[nearest]) + 0.5
    return [round(x * scale[1] * UNITS), round(y * scale[0] * UNITS)]


def _path(points: np.ndarray) -> str:
    """A closed ring of (row, column) points as a move and relative lines."""
    steps = np.diff(points[:-1, ::-1], axis=0)
    lines = " ".join(map(str, steps.ravel().tolist()))
    return f"M{points[0, 1]} {points[0, 0]}l{lines}z"
