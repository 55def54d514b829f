"""Phase 2 with phase 1's loss beside its own, so that an encoder that is fine-tuned does not forget its teachers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from bundle.losses.distillation import DistillationLoss
from bundle.losses.segmentation import SegmentationLoss

DISTILLATION = "distillation"
"""Entry of the target that holds what :class:`DistillationLoss` needs."""


class RetainedLoss(nn.Module):
    """Segmentation loss + weight · distillation loss.

    After each call ``latest`` holds the terms of both as plain floats; the names of the two never meet.

    Args:
        segmentation: The loss of phase 2.
        distillation: The loss of phase 1, its standardizers fitted.
        weight: Factor of the distillation loss; positive.

    Raises:
        ValueError: If the weight is not positive.
    """

    def __init__(self, segmentation: SegmentationLoss, distillation: DistillationLoss, weight: float) -> None:
        super().__init__()
        if weight <= 0:
            raise ValueError(f"weight must be positive, got {weight}: to train without teachers, leave the overlay out")
        self.segmentation, self.distillation, self.weight = segmentation, distillation, weight
        self.latest: dict[str, float] = {}

    def forward(self, pred: Mapping[str, Any], target: Mapping[str, Any]) -> Tensor:
        """Compute the loss.

        Args:
            pred: What :class:`SegmentationLoss` needs, and ``embedding`` and ``features`` as from phase 1's network.
            target: What :class:`SegmentationLoss` needs, and under ``distillation`` the target of phase 1.
        """
        segmentation = self.segmentation(pred, target)
        distillation = self.distillation(pred, target[DISTILLATION])
        self.latest = {**self.segmentation.latest, **self.distillation.latest}
        return segmentation + self.weight * distillation
