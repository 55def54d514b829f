"""The connected parts of one mask, without holes and specks."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bundle.metrics.plausibility import box_of

EIGHT_NEIGHBORS = ndimage.generate_binary_structure(2, 2)
FOUR_NEIGHBORS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True)
class Pieces:
    """The K parts of a structure in a frame, the largest first."""

    box: tuple[slice, slice]  # Rows and columns of the frame
    numbers: np.ndarray  # Within the box, each pixel's part, from 1; 0 where there is none
    areas: np.ndarray  # Pixels ``(K,)``
    middles: np.ndarray  # Mean row and column in the frame ``(K, 2)``

    def paint(self, mask: np.ndarray, part: int | None = None) -> None:
        """Set the pixels of a part, or of all, in a mask ``(H, W)`` that is False there."""
        mask[self.box] = self.numbers > 0 if part is None else self.numbers == part + 1


def find_pieces(mask: np.ndarray, least_area: int) -> Pieces | None:
    """Take a mask ``(H, W)`` bool apart; what touches by a corner is one part. None if no part is large enough.

    Args:
        mask: Of one structure in one frame.
        least_area: Pixels that a part has at least, its holes filled; smaller ones are left out.
    """
    box = box_of(mask)
    if box is None:
        return None
    numbers, count = ndimage.label(_filled(mask[box]), EIGHT_NEIGHBORS)
    areas = np.bincount(numbers.ravel())[1:]
    order = np.argsort(-areas, kind="stable")
    order = order[areas[order] >= least_area]
    if not len(order):
        return None
    middles = np.array([_middle(numbers, part, box) for part in order])
    if count > 1:
        renumbered = np.zeros(count + 1, np.min_scalar_type(len(order)))
        renumbered[order + 1] = 1 + np.arange(len(order))
        numbers = renumbered[numbers]
    return Pieces(box, numbers.astype(np.min_scalar_type(len(order)), copy=False), areas[order], middles)


def as_one_piece(mask: np.ndarray) -> Pieces | None:
    """A mask ``(H, W)`` bool as it is, whatever it consists of; None where it is empty."""
    box = box_of(mask)
    if box is None:
        return None
    numbers = mask[box].astype(np.uint8)
    return Pieces(box, numbers, numbers.sum(keepdims=True).ravel(), np.array([_middle(numbers, 0, box)]))


def _filled(mask: np.ndarray) -> np.ndarray:
    """With what cannot be reached from outside, across the pixels' sides."""
    around = np.ones((mask.shape[0] + 2, mask.shape[1] + 2), bool)
    np.logical_not(mask, out=around[1:-1, 1:-1])
    outside, count = ndimage.label(around, FOUR_NEIGHBORS)
    return mask if count == 1 else (outside != outside[0, 0])[1:-1, 1:-1]


def _middle(numbers: np.ndarray, part: int, box: tuple[slice, slice]) -> tuple[float, float]:
    inside = numbers == part + 1
    area = np.count_nonzero(inside)
    sums = (inside.sum(axis=1 - axis) @ np.arange(inside.shape[axis]) for axis in (0, 1))
    row, column = (float(total) / area for total in sums)
    return box[0].start + row, box[1].start + column
