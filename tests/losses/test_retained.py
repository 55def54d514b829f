"""Retained distillation: both losses, each as it would be alone."""

import pytest
import torch

from bundle.losses.balance import Equal
from bundle.losses.distances import MeanSquared
from bundle.losses.distillation import DistillationLoss
from bundle.losses.segmentation import RetainedLoss, SegmentationLoss
from bundle.losses.standardize import Identity
from bundle.losses.statistics import FeatureStatistics


@pytest.fixture
def losses() -> tuple[SegmentationLoss, DistillationLoss]:
    statistics = FeatureStatistics(3, "test")
    statistics.update(torch.randn(8, 3, 4, 4))
    standardizers = {"teacher": Identity.from_statistics(statistics)}
    segmentation = SegmentationLoss(iou_weight=0.0, presence_weight=0.0)
    return segmentation, DistillationLoss(standardizers, MeanSquared(), Equal())


@pytest.fixture
def batch() -> tuple[dict, dict]:
    pred = {
        "masks": torch.zeros(2, 1, 4, 4),
        "embedding": torch.zeros(2, 5, 4, 4),
        "features": {"teacher": torch.zeros(2, 3, 4, 4)},
    }
    target = {
        "label": torch.ones(2, 1, 4, 4),
        "valid": torch.ones(2, 1, 4, 4),
        "distillation": {
            "features": {"teacher": torch.full((2, 3, 4, 4), 3.0)},
            "valid": {"teacher": torch.ones(2, 1, 4, 4)},
        },
    }
    return pred, target


def test_the_loss_is_the_segmentation_loss_plus_the_weighted_distillation_loss(losses, batch):
    segmentation, _ = losses
    alone = segmentation(*batch)
    both = RetainedLoss(*losses, weight=0.1)(*batch)
    assert both.item() == pytest.approx(alone.item() + 0.1 * 9.0)  # (3 - 0)² = 9 in every channel


def test_the_terms_of_both_are_logged(losses, batch):
    loss = RetainedLoss(*losses, weight=0.1)
    loss(*batch)
    assert loss.latest["loss/teacher"] == pytest.approx(9.0)
    assert {"loss/mask", "weight/teacher", "weight_entropy"} <= set(loss.latest)


def test_a_weight_that_would_switch_it_off_is_refused_with_the_remedy(losses):
    with pytest.raises(ValueError, match=r"weight must be positive, got 0: .* leave the overlay out"):
        RetainedLoss(*losses, weight=0)
