"""Where in a film the X-ray picture is: many recordings show it small, on black.

Training, evaluation, inference and serving all give the network this part of a frame, found in the same frames.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from torch import Tensor

from bundle.data.clip import Clip

FRAMES_LOOKED_AT = 8  # First frames of a clip, in which its picture is looked for
LIT = 0.04  # How much brighter than the border a pixel is that belongs to the picture; of [0, 1]
DARK_BORDER = 0.2  # A border brighter than this is no border
MARGIN = 0.02  # Kept around the picture, of its longer side
WORTHWHILE = 0.8
"""Longer side of the picture, of the frame's, above which the frame is taken as it is: the network's square shows the
picture hardly larger without its border."""
SMALLEST = 0.02  # Share of the frame below which what is lit is no picture


class Window(NamedTuple):
    """Part of a frame: rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def whole(cls, rows: int, columns: int) -> "Window":
        """All of a frame."""
        return cls(0, rows, 0, columns)

    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def put_back(self, masks: Tensor, rows: int, columns: int) -> Tensor:
        """Masks of this part ``(..., h, w)`` in frames of ``rows`` x ``columns``; nothing is outside it."""
        whole = masks.new_zeros(*masks.shape[:-2], rows, columns)
        whole[(..., *self.slices())] = masks
        return whole


def view_of_clip(clip: Clip) -> Window:
    """Field of view of a clip, as found in its first frames."""
    first = range(min(FRAMES_LOOKED_AT, clip.num_frames))
    return find_field_of_view(np.stack([clip.frame(index) for index in first]))


def find_field_of_view(frames: np.ndarray) -> Window:
    """Find the picture in frames ``(T, 1, H, W)`` with a black border: the box around the largest connected lit region.

    Text in the border is another region, and left out. The whole frame if there is no dark border, the picture is as
    long or as wide as the frame anyway, or nothing is lit.
    """
    rows, columns = frames.shape[-2:]
    whole = Window.whole(rows, columns)
    brightest = frames.max(axis=(0, 1))
    border = np.median(np.concatenate([brightest[0], brightest[-1], brightest[:, 0], brightest[:, -1]]))
    if border > DARK_BORDER:
        return whole
    regions, count = ndimage.label(brightest > border + LIT)
    if not count:
        return whole
    largest = int(np.bincount(regions.ravel())[1:].argmax())
    box = ndimage.find_objects(regions)[largest]
    margin = round(MARGIN * max(box[0].stop - box[0].start, box[1].stop - box[1].start))
    window = Window(
        max(0, box[0].start - margin),
        min(rows, box[0].stop + margin),
        max(0, box[1].start - margin),
        min(columns, box[1].stop + margin),
    )
    height, width = window.bottom - window.top, window.right - window.left
    is_picture = height * width >= SMALLEST * rows * columns
    return window if is_picture and max(height, width) <= WORTHWHILE * max(rows, columns) else whole
