"""Prompts from the labels.

For training drawn at random, a point, a box, or points inside and outside; for evaluation the one box around an object,
or the one click into its middle.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

KINDS = ("point", "box", "points")
NUM_POINTS = 3


class Prompts(NamedTuple):
    """One prompted structure per frame."""

    structure: Tensor  # (B,): its channel, whose label is the prompted mask's ground truth
    points: Tensor  # (B, 3, 2): x and y in pixels
    point_labels: Tensor  # (B, 3): 1 inside, 0 outside, 2 and 3 a box's corners, -1 unused


class PromptSampler:
    """Draw one structure and one prompt for it per frame: a point, a box, or points inside and outside.

    All prompts of a batch are of one kind, because SAM 2 answers a single point with three candidates and clearer
    prompts with one.

    Args:
        box_jitter: Largest shift of a box's side, as a share of the box's size.
        seed: Seed of the draws.
    """

    def __init__(self, box_jitter: float = 0.1, seed: int = 0) -> None:
        self.box_jitter = box_jitter
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, label: Tensor) -> Prompts:
        """Draw prompts for multi-label masks ``(B, S, H, W)``; a frame without any structure gets an outside point."""
        masks = label.detach().cpu() > 0.5
        kind = KINDS[self._integer(len(KINDS))]
        structures = torch.tensor([self._structure(frame) for frame in masks])
        drawn = [self._prompt(frame[index], kind) for frame, index in zip(masks, structures, strict=True)]
        points = torch.stack([point for point, _ in drawn]).to(label.device)
        point_labels = torch.stack([point_label for _, point_label in drawn]).to(label.device)
        return Prompts(structures.to(label.device), points, point_labels)

    def _integer(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self.generator))

    def _structure(self, masks: Tensor) -> int:  # (S, H, W)
        present = masks.flatten(1).any(dim=1).nonzero().flatten()
        return int(present[self._integer(len(present))]) if len(present) else self._integer(len(masks))

    def _prompt(self, mask: Tensor, kind: str) -> tuple[Tensor, Tensor]:  # (H, W) -> (3, 2), (3,)
        points = torch.zeros(NUM_POINTS, 2)
        labels = torch.full((NUM_POINTS,), -1, dtype=torch.int32)
        if not mask.any():
            points[0], labels[0] = self._pixel(~mask), 0
        elif kind == "point":
            points[0], labels[0] = self._pixel(mask), 1
        elif kind == "box":
            points[:2], labels[:2] = self._box(mask), torch.tensor([2, 3], dtype=torch.int32)
        else:
            points = torch.stack([self._pixel(mask), self._pixel(mask), self._pixel(~mask)])
            labels = torch.tensor([1, 1, 0], dtype=torch.int32)
        return points, labels

    def _pixel(self, mask: Tensor) -> Tensor:  # (H, W) -> (2,): x, y of a pixel in the mask
        if not mask.any():
            return torch.zeros(2)
        pixels = mask.nonzero()
        return pixels[self._integer(len(pixels))].flip(0).float()

    def _box(self, mask: Tensor) -> Tensor:  # (H, W) -> (2, 2): top-left and bottom-right corner
        low, high = box_around(mask).reshape(2, 2)
        jitter = (torch.rand(2, 2, generator=self.generator) * 2 - 1) * self.box_jitter * (high - low + 1)
        limit = torch.tensor([mask.shape[1] - 1, mask.shape[0] - 1], dtype=torch.float32)
        return (torch.stack([low, high]) + jitter).clamp(min=torch.zeros(2), max=limit)


def connected_parts(mask: Tensor, smallest: float = 0.0) -> list[Tensor]:
    """The connected parts of a mask ``bool (H, W)`` on the CPU, the largest first; none of an empty one.

    Parts below the share ``smallest`` of the largest one's area are left out.
    """
    regions, _ = ndimage.label(mask.numpy())
    areas = np.bincount(regions.ravel())[1:]
    order = np.argsort(-areas, kind="stable")
    return [torch.from_numpy(regions == 1 + index) for index in order if areas[index] >= smallest * areas.max()]


def box_around(mask: Tensor) -> Tensor:  # (H, W) -> (4,)
    """Left, top, right and bottom pixel of a mask that is not empty."""
    pixels = mask.nonzero().flip(1).float()
    return torch.cat([pixels.amin(dim=0), pixels.amax(dim=0)])


def inner_point(mask: Tensor) -> Tensor:  # (H, W) -> (2,)
    """x and y of the pixel of a mask ``bool (H, W)`` that is farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask.numpy(), 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return torch.tensor([float(column), float(row)])
