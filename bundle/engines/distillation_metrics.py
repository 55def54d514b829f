"""Validation of phase 1: each teacher's distillation loss, and the cosine between its features and the student's."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.utils import CommonKeys
from torch import Tensor

from bundle.engines.dealt_batches import frames_of
from bundle.losses.distillation import DistillationLoss
from bundle.losses.ranks import gather_in_turn


def distillation_metrics(loss: DistillationLoss) -> dict[str, Metric]:
    """Ignite metrics of a phase-1 evaluator.

    Args:
        loss: The training loss; its distance and standardizers are used, its balancing is not, so that runs with
            different balancers can be compared.

    Returns:
        ``val_loss``, the sum over teachers; and per teacher ``val_loss_<teacher>`` and ``val_cosine_<teacher>``, the
        mean cosine over valid positions between the student's projection and the teacher's standardized features.
    """
    metrics: dict[str, Metric] = {"val_loss": BatchMean(lambda output: sum(teacher_losses(loss, output).values()))}
    for name in loss.teachers:
        metrics[f"val_loss_{name}"] = BatchMean(_TeacherLoss(loss, name))
        metrics[f"val_cosine_{name}"] = BatchMean(_TeacherCosine(loss, name))
    return metrics


class BatchMean(Metric):
    """Mean over batches; with several processes it is, to the last bit, that of one (see :class:`DealtBatches`).

    Args:
        value: From the evaluator's output for a batch to a number.
    """

    def __init__(self, value: Callable[[Any], float]) -> None:
        super().__init__(output_transform=value)

    def reset(self) -> None:
        """Forget all batches."""
        self._values: list[tuple[Any, float]] = []

    def iteration_completed(self, engine: Engine) -> None:
        """Called by the evaluator after each batch."""
        self._values.append((frames_of(engine.state.batch), self._output_transform(engine.state.output)))

    def update(self, output: Any) -> None:
        """Not used: a batch is needed beside the output."""

    def compute(self) -> float:
        """Mean over the batches of all processes."""
        values = gather_in_turn(self._values)
        if not values:
            raise NotComputableError("a mean needs at least one batch, got none")
        return math.fsum(values) / len(values)


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
