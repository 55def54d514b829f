"""Linear probe on patch features: how well do they say which structures lie where?"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.laboratory.recipes.frames import PhantomFrames, images_for


def probe_patches(
    encoder: nn.Module, train: PhantomFrames, held_out: PhantomFrames, ridge: float = 1e-2
) -> dict[str, float]:
    """Fit one linear map from features to structures by ridge regression and score it on held-out patients.

    Closed form, so that the number depends on the features and on nothing else.

    Args:
        encoder: The encoder to judge.
        train: Frames to fit on; every fourth is enough.
        held_out: Frames of other patients.
        ridge: Penalty, relative to the features' mean variance.
    """
    features, labels = _tokens(encoder, train.every(4))
    mean, scale = features.mean(0), features.std(0).clamp_min(1e-6)
    weights = _ridge((features - mean) / scale, labels, ridge)
    features, labels = _tokens(encoder, held_out)
    scores = _with_bias((features - mean) / scale) @ weights
    found = [s for s in range(labels.shape[1]) if labels[:, s].any()]
    precisions = [_average_precision(scores[:, s], labels[:, s]) for s in found]
    return {"patch_probe_average_precision": sum(precisions) / len(precisions)}


@torch.no_grad()
def _tokens(encoder: nn.Module, frames: PhantomFrames) -> tuple[Tensor, Tensor]:
    """Features ``(N h w, C)`` and presence ``(N h w, S)``: does the structure cover 30% of the patch?"""
    features, labels = [], []
    for batch in frames.batches(16):
        found = encoder(images_for(encoder, batch.image))
        features.append(found.flatten(2).transpose(1, 2).flatten(0, 1))
        covered = F.interpolate(batch.label, found.shape[-2:], mode="area") >= 0.3
        labels.append(covered.flatten(2).transpose(1, 2).flatten(0, 1))
    return torch.cat(features), torch.cat(labels).float()


def _ridge(features: Tensor, labels: Tensor, ridge: float) -> Tensor:
    features = _with_bias(features).double()
    gram = features.T @ features
    gram += ridge * len(features) * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, features.T @ labels.double()).float()


def _with_bias(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones(len(features), 1)], dim=1)


def _average_precision(scores: Tensor, labels: Tensor) -> float:
    """Area under precision over recall."""
    hits = labels[scores.argsort(descending=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())
