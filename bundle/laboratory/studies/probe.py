"""The frozen probe: what a linear map of frozen features knows of the structures, from few labeled films.

Features and masks are brought onto one grid of ``GRID`` squared cells. Ridge regression predicts the share of every
cell that a structure covers; its strength and the threshold are chosen for each structure by predictions of labeled
films that were left out. Nothing is trained but this map, so that seconds tell features from each other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.students.encoder import StudentEncoder
from bundle.teachers.similarity import resize_features

GRID = 32
PENALTIES = tuple(10.0**power for power in range(-4, 2))
"""Of ridge regression on channels of unit variance, relative to the number of cells."""
THRESHOLDS = tuple(number / 20 for number in range(1, 20))
NUM_FOLDS = 5
VERSION = 1
"""Counted up whenever the same features give other scores."""


class Moments(NamedTuple):
    """Sums over some films' cells of features ``x``, targets ``y`` and their products."""

    number: int
    x: Tensor  # (C,)
    y: Tensor  # (S,)
    xx: Tensor  # (C, C)
    xy: Tensor  # (C, S)


@torch.no_grad()
def student_features(student: StudentEncoder, frames: Tensor) -> Tensor:
    """A student's embedding and its map at stride 8, side by side on the grid; it is left in evaluation mode.

    Returns:
        ``(N, GRID ** 2, 2 * embed_dim)``.
    """
    student.eval()
    rows = []
    for batch in frames.split(8):
        maps = student.top_down(student.stages(batch), finest=8)
        rows.append(torch.cat([to_rows(level) for level in maps.values()], dim=2))
    return torch.cat(rows)


def position_features(num_films: int) -> Tensor:
    """Powers of row and column up to the fourth: what can be known without looking ``(N, GRID ** 2, 14)``."""
    axis = torch.linspace(-1, 1, GRID)
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    powers = [row**i * column**j for i in range(5) for j in range(5 - i) if i + j]
    return torch.stack(powers, dim=-1).reshape(1, GRID**2, -1).expand(num_films, -1, -1)


def to_rows(features: Tensor) -> Tensor:  # (N, C, h, w) -> (N, GRID ** 2, C)
    """Maps brought onto the grid, cell by cell."""
    return resize_features(features.float(), GRID).flatten(2).transpose(1, 2)


def coverage(masks: Tensor) -> Tensor:  # (N, S, H, W) -> (N, GRID ** 2, S)
    """Share of every cell that a structure covers."""
    return F.adaptive_avg_pool2d(masks.float(), GRID).flatten(2).transpose(1, 2)


def probe(features: Tensor, truth: Tensor, labeled: Sequence[int], tested: Sequence[int]) -> Tensor:
    """Learn from labeled films, and score others.

    Args:
        features: Frozen ``(N, GRID ** 2, C)``.
        truth: Coverage ``(N, GRID ** 2, S)``; more than half of a cell is the structure.
        labeled: Films to learn from, two or more.
        tested: Films that are scored.

    Returns:
        Dice ``(tested, S)`` on the grid; NaN where the film has no cell of the structure.
    """
    if len(labeled) < 2:
        raise ValueError(f"expected two labeled films or more, to leave one out, got {len(labeled)}")
    folds = [list(labeled[start::NUM_FOLDS]) for start in range(min(NUM_FOLDS, len(labeled)))]
    moments = [_moments(features[fold], truth[fold]) for fold in folds]
    whole = _sum(moments)
    left_out: list[Tensor] = []  # of each fold (penalties, thresholds, films, S)
    for fold, own in zip(folds, moments, strict=True):
        predicted = _predict(features[fold], _without(whole, own))
        left_out.append(torch.stack([cell_dice(predicted > threshold, truth[fold]) for threshold in THRESHOLDS], dim=1))
    scores = torch.cat(left_out, dim=2).nanmean(dim=2).nan_to_num()  # (penalties, thresholds, S)
    best = scores.flatten(0, 1).argmax(dim=0)
    penalty, threshold = best // len(THRESHOLDS), best % len(THRESHOLDS)
    predicted = _predict(features[list(tested)], whole)
    chosen = torch.stack([predicted[number, :, :, place] for place, number in enumerate(penalty.tolist())], dim=-1)
    return cell_dice(chosen > torch.tensor(THRESHOLDS)[threshold], truth[list(tested)])


def cell_dice(predicted: Tensor, truth: Tensor) -> Tensor:  # (..., N, cells, S) bool, (N, cells, S) -> (..., N, S)
    """Dice of cells with those more than half covered; NaN where there are none."""
    actual = truth > 0.5
    both = (predicted & actual).sum(dim=-2)
    found = 2 * both / (predicted.sum(dim=-2) + actual.sum(dim=-2))
    return found.where(actual.any(dim=-2), torch.nan)


def _moments(features: Tensor, truth: Tensor) -> Moments:
    x, y = features.flatten(0, 1), truth.flatten(0, 1)
    return Moments(len(x), *(part.double() for part in (x.sum(dim=0), y.sum(dim=0), x.T @ x, x.T @ y)))


def _sum(parts: Sequence[Moments]) -> Moments:
    return Moments(*(sum(values[1:], start=values[0]) for values in zip(*parts, strict=True)))


def _without(whole: Moments, part: Moments) -> Moments:
    parts = zip(whole[1:], part[1:], strict=True)
    return Moments(whole.number - part.number, *(a - b for a, b in parts))


def _predict(features: Tensor, known: Moments) -> Tensor:  # (N, cells, C) -> (penalties, N, cells, S)
    mean, target = known.x / known.number, known.y / known.number
    covariance = known.xx / known.number - torch.outer(mean, mean)
    scale = covariance.diagonal().clamp(min=1e-12).sqrt()
    correlation = covariance / torch.outer(scale, scale)
    wanted = (known.xy / known.number - torch.outer(mean, target)) / scale[:, None]
    eye = torch.eye(len(mean), dtype=torch.float64)
    found = []
    for penalty in PENALTIES:
        weight = torch.linalg.solve(correlation + penalty * eye, wanted) / scale[:, None]
        found.append(features @ weight.float() + (target - mean @ weight).float())
    return torch.stack(found)
