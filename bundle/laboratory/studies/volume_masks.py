"""Masks of a volume ``(Z, 1, H, W)``: asked of a segmenter slice by slice with boxes, or drawn without any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bundle.metrics.overlap import dice
from bundle.segmentation.prompting import Prompt, answer_prompt, encode_frame
from bundle.segmentation.prompts import box_around
from bundle.segmentation.segmenter import Segmenter

BoxAnswer = Callable[[int, Tensor], Tensor]
"""Number of a slice, and a box in it ``(4,)``, left, top, right and bottom pixel -> mask ``(H, W)``, bool."""

MARGIN = 0.1
"""Share of a carried box's width and height that is added at each side: as much as boxes are moved in training."""


@dataclass(frozen=True)
class VolumeBox:
    """The smallest box that holds a mask; first and last are both inside."""

    slices: tuple[int, int]  # First and last
    rows: tuple[int, int]  # First and last
    columns: tuple[int, int]  # First and last

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

    def boxes(self) -> dict[int, Tensor]:
        """The same box ``(4,)``, left, top, right and bottom pixel, for the number of each of its slices."""
        (top, bottom), (left, right) = self.rows, self.columns
        box = torch.tensor([left, top, right, bottom]).float()
        return dict.fromkeys(range(self.slices[0], self.slices[1] + 1), box)


def asked_by_box(segmenter: Segmenter, slices: Tensor, box: VolumeBox, structure: str) -> Tensor:
    """The segmenter's answer to the same box in every slice that the box has, each slice on its own.

    Returns:
        Masks ``(Z, 1, H, W)``, bool; empty in the other slices.
    """

    def answer(index: int, box: Tensor) -> Tensor:
        left, top, right, bottom = box.tolist()
        prompt = Prompt(structure, box=(left, top, right, bottom))
        return answer_prompt(segmenter, encode_frame(segmenter, slices[index]), prompt).mask

    return asked(answer, box.boxes(), slices.shape)


def asked(answer: BoxAnswer, boxes: Mapping[int, Tensor], shape: tuple[int, ...]) -> Tensor:
    """The answer to each slice's box as masks of the shape ``(Z, 1, H, W)``; empty in slices without a box."""
    masks = torch.zeros(shape, dtype=torch.bool)
    for index, box in boxes.items():
        masks[index, 0] = answer(index, box)
    return masks


def carried(answer: BoxAnswer, label: Tensor, margin: float = MARGIN) -> Tensor:
    """Only the middle slice's box is true; in both directions, the next one is around the mask in the slice before.

    Args:
        answer: Of a segmenter.
        label: True mask ``(Z, 1, H, W)``; of it only the middle one of the slices with a mask is looked at.
        margin: See :data:`MARGIN`; the box ends with the slice.

    Returns:
        Masks ``(Z, 1, H, W)``, bool; empty beyond the slice in which nothing was found.

    Raises:
        ValueError: If the label is empty.
    """
    shown = label.flatten(1).any(dim=1).nonzero().flatten().tolist()
    if not shown:
        raise ValueError("an empty mask has no middle slice")
    middle = shown[len(shown) // 2]
    masks = asked(answer, {middle: box_around(label[middle, 0])}, label.shape)
    for step in (-1, 1):
        index = middle
        while masks[index].any() and 0 <= index + step < len(masks):
            box = _widened(box_around(masks[index, 0]), margin, label.shape)
            index += step
            masks[index, 0] = answer(index, box)
    return masks


def _widened(box: Tensor, margin: float, shape: tuple[int, ...]) -> Tensor:
    low, high = box.reshape(2, 2)
    more = margin * (high - low + 1)
    last = torch.tensor([shape[-1] - 1.0, shape[-2] - 1.0])
    return torch.cat([(low - more).clamp(min=0), torch.minimum(high + more, last)])


def ellipsoid(box: VolumeBox, shape: tuple[int, int, int]) -> Tensor:
    """The ellipsoid that fills a box ``(Z, 1, H, W)``: what the box alone tells of a round lesion."""
    distance = torch.zeros(shape)
    for axis, (first, last) in enumerate((box.slices, box.rows, box.columns)):
        along = (torch.arange(shape[axis]) - (first + last) / 2) / ((last - first + 1) / 2)
        distance += along.square().reshape([-1 if other == axis else 1 for other in range(3)])
    return (distance <= 1)[:, None]


def volume_dice(masks: Tensor, label: Tensor) -> float:
    """Dice of a volume ``(Z, 1, H, W)``, all voxels together; NaN where the label is empty."""
    return float(dice(masks.reshape(1, 1, -1, masks.shape[-1]), label.reshape(1, 1, -1, label.shape[-1])))
