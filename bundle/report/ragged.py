"""Masks too ragged to be drawn in full, as of a network that gives noise: simpler ones, for the picture only."""

from collections.abc import Iterable

import numpy as np
from scipy.ndimage import label

MOST_EDGES = 2_000_000
"""Sides of pixels along all outlines of a page, 7 bytes each at most. True masks of 512 x 512 have 4200 a frame."""

SPECK_PIXELS = 16
"""Parts and holes of a ragged mask below this size are not drawn, but for its largest part."""


def num_edges(mask: np.ndarray) -> int:
    """Sides of pixels between a mask ``(H, W)`` and what is not in it, without those along the picture's border."""
    return int(np.count_nonzero(mask[:, 1:] != mask[:, :-1]) + np.count_nonzero(mask[1:] != mask[:-1]))


def edge_limit(edges: Iterable[int], most_edges: int = MOST_EDGES) -> float:
    """Edges that one mask may have, so that all together have at most ``most_edges``; infinite where they fit anyway.

    Masks with few edges leave their share to others, so noise in one structure costs the others nothing.

    Args:
        edges: Of every mask of the page.
        most_edges: Of all masks together.
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
