"""Masks without the empty pixels around them: most of a frame is in no structure, and need not be looked at."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from bundle.metrics.plausibility import box_of


class CroppedMask(NamedTuple):
    """A part of a mask ``(H, W)`` outside of which nothing is set."""

    top: int  # Its first row
    left: int  # Its first column
    pixels: np.ndarray  # ``(h, w)`` bool; ``(0, 0)`` where the mask is empty

    @property
    def box(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        height, width = self.pixels.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


class HasFrames(Protocol):
    """An array ``(T, S, H, W)``, or what gives its frames one at a time."""

    def __getitem__(self, index: Any, /) -> Any:
        """A frame ``(S, H, W)``."""


@runtime_checkable
class HasCropped(Protocol):
    """Masks that are kept without what is empty."""

    def cropped(self, frame: int) -> list[CroppedMask]:
        """The masks of a frame."""


def crop_mask(mask: np.ndarray) -> CroppedMask:
    """The part of a mask ``(H, W)`` bool in which all lies that is set."""
    box = box_of(mask)
    return CroppedMask(0, 0, mask[:0, :0]) if box is None else CroppedMask(box[0].start, box[1].start, mask[box])


def cropped(masks: HasFrames, frame: int) -> list[CroppedMask]:
    """One per structure of a frame, from the file without whole planes where the masks are in one."""
    return masks.cropped(frame) if isinstance(masks, HasCropped) else [crop_mask(mask) for mask in masks[frame]]
