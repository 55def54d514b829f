"""Validation of phase 1: how much of each teacher the student has learned, and whether its embedding has collapsed."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from ignite.metrics import Metric
from monai.metrics import compute_embedding_collapse
from monai.utils import CommonKeys
from torch import Tensor

from bundle.engines.validation import OverBatches
from bundle.losses.distillation import DistillationLoss

MEASURED = "measured"
"""Entry of an evaluated batch's target that keeps what was measured of it."""
MOST_TOKENS = 2048
"""Of a batch's embedding that the collapse is computed from."""


def distillation_metrics(loss: DistillationLoss) -> dict[str, Metric]:
    """Ignite metrics of a phase-1 evaluator.

    Args:
        loss: The training loss; its distance and standardizers are used, its balancing is not, so that runs with
            different balancers can be compared.

    Returns:
        ``val_loss``, the sum over teachers; ``val_collapse``, MONAI's score of the embedding's positions from 0 (all
        its dimensions are used alike) to 1 (all positions are equal), by effective rank; and per teacher, between the
        student's projection and the teacher's standardized features, over valid positions: ``val_loss_<teacher>``,
        ``val_cosine_<teacher>``, the mean cosine, and ``val_unexplained_<teacher>``, the squared error as a share of
        the teacher's variance on these frames (1 − R²; 0 is all known, 1 no better than their mean). The last does not
        depend on the distance and hardly on the standardization: choose recipes by it.
    """
    names = ["val_loss", "val_collapse"]
    names += [f"val_{kind}_{name}" for name in loss.teachers for kind in ("loss", "cosine", "unexplained")]
    return {
        name: OverBatches(partial(_measured, loss, name), unexplained if name.startswith("val_unexplained_") else _mean)
        for name in names
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _measured(loss: DistillationLoss, name: str, output: Mapping[str, Any]) -> Any:
    """One measure of an evaluated batch; all of them are taken when the first is asked for."""
    target = output[CommonKeys.LABEL]
    if MEASURED not in target:
        target[MEASURED] = _measure(loss, output[CommonKeys.PRED], target)
    return target[MEASURED][name]


@torch.no_grad()
def _measure(loss: DistillationLoss, pred: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    was_training = loss.training
    loss.eval()
    loss(pred, target)
    loss.train(was_training)
    losses = {f"val_loss_{name}": loss.latest[f"loss/{name}"] for name in loss.teachers}
    measured: dict[str, Any] = {"val_loss": sum(losses.values()), **losses}
    measured["val_collapse"] = embedding_collapse(pred["embedding"])
    for name in loss.teachers:
        maps = pred["features"][name], loss.standardizers[name](target["features"][name]), target["valid"][name]
        measured[f"val_cosine_{name}"] = feature_cosine(*maps)
        measured[f"val_unexplained_{name}"] = error_and_moments(*maps)
    return measured


def feature_cosine(pred: Tensor, target: Tensor, valid: Tensor) -> float:
    """Mean cosine between two feature maps ``(B, C, h, w)`` over positions, weighted by ``valid`` ``(B, 1, h, w)``."""
    cosine = F.cosine_similarity(pred.float(), target.float(), dim=1)
    weight = valid[:, 0].float()
    return float((cosine * weight).sum() / weight.sum().clamp_min(1e-6))


def error_and_moments(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """What :func:`unexplained` needs of a batch.

    Args:
        pred: Features ``(B, C, h, w)``.
        target: Features ``(B, C, h, w)``.
        valid: Weight of every position ``(B, 1, h, w)``.

    Returns:
        Float64 ``(3 + C)``: the squared error, the weight and the squared target, summed; the target's sum per channel.
    """
    pred, target, valid = (entry.detach().as_subclass(Tensor).double() for entry in (pred, target, valid))
    sums = [((pred - target).square() * valid).sum(), valid.sum(), (target.square() * valid).sum()]
    return torch.cat([torch.stack(sums), (target * valid).sum(dim=(0, 2, 3))]).cpu()


def unexplained(batches: Sequence[Tensor]) -> float:
    """Share of the target's variance that the prediction leaves, 1 − R²; NaN where the target does not vary.

    Args:
        batches: Of :func:`error_and_moments`.
    """
    error, weight, square, *mean = torch.stack(list(batches)).sum(dim=0).tolist()
    variance = square - math.fsum(value**2 for value in mean) / weight if weight else 0.0
    return error / variance if variance > 1e-12 * square else math.nan


def embedding_collapse(embedding: Tensor) -> float:
    """MONAI's effective-rank score of the positions of embeddings ``(B, C, h, w)``; of many, some evenly spaced."""
    tokens = embedding.detach().as_subclass(Tensor).float().movedim(1, -1).flatten(end_dim=2)
    tokens = tokens[:: math.ceil(len(tokens) / MOST_TOKENS)]
    score = compute_embedding_collapse(tokens, include_indicators=["effective_rank"])["effective_rank_score"]
    return float(score)  # type: ignore[arg-type]  # asked for, so there
