"""Validation of phase 1: each teacher's distillation loss, and the cosine between its features and the student's."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from ignite.metrics import Average
from monai.utils import CommonKeys
from torch import Tensor

from bundle.losses.distillation import DistillationLoss


def distillation_metrics(loss: DistillationLoss) -> dict[str, Average]:
    """Ignite metrics of a phase-1 evaluator.

    Args:
        loss: The training loss; its distance and standardizers are used, its balancing is not, so that runs with
            different balancers can be compared.

    Returns:
        ``val_loss``, the sum over teachers; and per teacher ``val_loss_<teacher>`` and ``val_cosine_<teacher>``, the
        mean cosine over valid positions between the student's projection and the teacher's standardized features.
    """
    metrics = {"val_loss": Average(output_transform=lambda output: sum(teacher_losses(loss, output).values()))}
    for name in loss.teachers:
        metrics[f"val_loss_{name}"] = Average(output_transform=_TeacherLoss(loss, name))
        metrics[f"val_cosine_{name}"] = Average(output_transform=_TeacherCosine(loss, name))
    return metrics


class _TeacherLoss:
    def __init__(self, loss: DistillationLoss, name: str) -> None:
        self.loss, self.name = loss, name

    def __call__(self, output: Mapping[str, Any]) -> float:
        return teacher_losses(self.loss, output)[self.name]


class _TeacherCosine:
    def __init__(self, loss: DistillationLoss, name: str) -> None:
        self.loss, self.name = loss, name

    def __call__(self, output: Mapping[str, Any]) -> float:
        pred, target = output[CommonKeys.PRED], output[CommonKeys.LABEL]
        features = self.loss.standardizers[self.name](target["features"][self.name])
        return feature_cosine(pred["features"][self.name], features, target["valid"][self.name])


@torch.no_grad()
def teacher_losses(loss: DistillationLoss, output: Mapping[str, Any]) -> dict[str, float]:
    """Distance per teacher of one evaluated batch, unweighted; computed once per batch."""
    pred, target = output[CommonKeys.PRED], output[CommonKeys.LABEL]
    if "losses" not in target:
        was_training = loss.training
        loss.eval()
        loss(pred, target)
        loss.train(was_training)
        target["losses"] = {name: loss.latest[f"loss/{name}"] for name in loss.teachers}
    return target["losses"]


@torch.no_grad()
def feature_cosine(pred: Tensor, target: Tensor, valid: Tensor) -> float:
    """Mean cosine between two feature maps ``(B, C, h, w)`` over positions, weighted by ``valid`` ``(B, 1, h, w)``."""
    cosine = F.cosine_similarity(pred.float(), target.float(), dim=1)
    weight = valid[:, 0].float()
    return float((cosine * weight).sum() / weight.sum().clamp_min(1e-6))
