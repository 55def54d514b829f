"""Masks of a volume ``(Z, 1, H, W)``: asked of a segmenter slice by slice with a 3-D box, or drawn without any."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bundle.metrics.overlap import dice
from bundle.segmentation.prompting import Prompt, answer_prompt, encode_frame
from bundle.segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class VolumeBox:
    """The smallest box that holds a mask; first and last are both inside.

    Attributes:
        slices: First and last.
        rows: First and last.
        columns: First and last.
    """

    slices: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def around(cls, mask: Tensor) -> "VolumeBox":
        """The box of a mask ``(Z, 1, H, W)``.

        Raises:
            ValueError: If the mask is empty.
        """
        if not mask.any():
            raise ValueError("an empty mask has no box")
        low, high = torch.aminmax(mask[:, 0].nonzero(), dim=0)
        return cls(*zip(low.tolist(), high.tolist(), strict=True))


def asked_by_box(segmenter: Segmenter, slices: Tensor, box: VolumeBox, structure: str) -> Tensor:
    """The segmenter's answer to the same box in every slice that the box has, each slice on its own.

    Args:
        segmenter: In evaluation mode.
        slices: ``(Z, 1, H, W)`` in [0, 1], with square pixels.
        box: Around the structure.
        structure: Its name.

    Returns:
        Masks ``(Z, 1, H, W)``, bool; empty in the other slices.
    """
    masks = torch.zeros(slices.shape, dtype=torch.bool)
    (top, bottom), (left, right) = box.rows, box.columns
    prompt = Prompt(structure, box=(left, top, right, bottom))
    for index in range(box.slices[0], box.slices[1] + 1):
        masks[index, 0] = answer_prompt(segmenter, encode_frame(segmenter, slices[index]), prompt).mask
    return masks


def ellipsoid(box: VolumeBox, shape: tuple[int, int, int]) -> Tensor:
    """The ellipsoid that fills a box: what the box alone tells of a round lesion.

    Args:
        box: To be filled.
        shape: ``Z, H, W`` of the volume.

    Returns:
        Mask ``(Z, 1, H, W)``, bool.
    """
    distance = torch.zeros(shape)
    for axis, (first, last) in enumerate((box.slices, box.rows, box.columns)):
        along = (torch.arange(shape[axis]) - (first + last) / 2) / ((last - first + 1) / 2)
        distance += along.square().reshape([-1 if other == axis else 1 for other in range(3)])
    return (distance <= 1)[:, None]


def volume_dice(masks: Tensor, label: Tensor) -> float:
    """Dice of a volume ``(Z, 1, H, W)``, all voxels together; NaN where the label is empty."""
    return float(dice(masks.reshape(1, 1, -1, masks.shape[-1]), label.reshape(1, 1, -1, label.shape[-1])))
