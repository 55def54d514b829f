"""Phase 1: the student's projected features against standardized features of all teachers, balanced into one loss."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bundle.losses.balance import relative_entropy
from bundle.ranks import mean_over_ranks

COLLAPSED = 0.95
"""Share of the weights above which a balancer has given everything to one teacher."""


def as_float32(tensor: Tensor) -> Tensor:
    """Float32 without MONAI's metadata, which would slow down and follow every step of a loss."""
    return tensor.float().as_subclass(Tensor)


class DistillationLoss(nn.Module):
    """Balance of ``distance(student's features, standardizer(teacher's features))`` over the teachers.

    Everything is computed in float32, under autocast too. The loss is a mean over images, each balanced by itself; of
    several processes that train, over the images of all. After each call ``latest`` holds plain floats for the log,
    means over the same images: ``loss/<teacher>``, ``weight/<teacher>`` and ``weight_entropy``, the entropy of those
    weights (as shares) relative to equal weights, from 0 (one teacher has it all) to 1.

    Args:
        standardizers: One per teacher, by name; see :mod:`bundle.losses.standardize`.
        distance: See :mod:`bundle.losses.distances`.
        balancer: See :mod:`bundle.losses.balance`; its parameters, if any, belong in the optimizer.
        collapse_patience: Training steps after which a collapse of the balancer is warned of.
    """

    def __init__(
        self,
        standardizers: Mapping[str, nn.Module],
        distance: nn.Module,
        balancer: nn.Module,
        collapse_patience: int = 100,
    ) -> None:
        super().__init__()
        dotted = [name for name in standardizers if "." in name]
        if not standardizers or dotted:
            raise ValueError(f"give one standardizer per teacher, names without dots, got {list(standardizers)}")
        self.teachers = tuple(standardizers)
        self.standardizers = nn.ModuleDict(dict(standardizers))
        self.distance = distance
        self.balancer = balancer
        self.collapse = CollapseMonitor(collapse_patience)
        self.latest: dict[str, float] = {}

    def forward(self, pred: Mapping[str, Any], target: Mapping[str, Any]) -> Tensor:
        """Compute the balanced loss.

        Args:
            pred: ``features``: teacher -> ``(B, C, h, w)`` from its head; ``embedding``: ``(B, C_s, hs, ws)``.
            target: ``features``: teacher -> ``(B, C, h, w)`` as the teacher gave them; ``valid``: teacher ->
                ``(B, 1, h, w)``, the share of each position that is image and not padding.
        """
        self._check_teachers("pred['features']", pred["features"])
        self._check_teachers("target['features']", target["features"])
        self._check_teachers("target['valid']", target["valid"])
        with torch.autocast(pred["embedding"].device.type, enabled=False):
            losses = torch.stack([self._teacher_loss(name, pred, target) for name in self.teachers])
            balanced = self.balancer(losses, as_float32(pred["embedding"]))
        self._log(losses.detach().mean(dim=1), balanced.weights.mean(dim=1))
        return self._of_all(balanced.total)

    def _of_all(self, value: Tensor) -> Tensor:
        """Mean over the processes that train; those that evaluate may have different numbers of batches."""
        return mean_over_ranks(value) if self.training else value

    def _teacher_loss(self, name: str, pred: Mapping[str, Any], target: Mapping[str, Any]) -> Tensor:  # (B,)
        with torch.no_grad():
            features = self.standardizers[name](as_float32(target["features"][name]))
        return self.distance(as_float32(pred["features"][name]), features, as_float32(target["valid"][name]))

    def _log(self, losses: Tensor, weights: Tensor) -> None:
        losses, weights = self._of_all(torch.stack([losses, weights]))
        entropy = relative_entropy(weights / weights.sum())
        numbers = torch.cat([losses, weights, entropy[None]]).tolist()  # one transfer from the device
        num_teachers = len(self.teachers)
        shares = dict(zip(self.teachers, numbers[num_teachers:-1], strict=True))
        self.latest = {f"loss/{name}": value for name, value in zip(self.teachers, numbers, strict=False)}
        self.latest |= {f"weight/{name}": value for name, value in shares.items()} | {"weight_entropy": numbers[-1]}
        if self.training:
            self.collapse.update(shares)

    def _check_teachers(self, what: str, entries: Mapping[str, Tensor]) -> None:
        missing = [name for name in self.teachers if name not in entries]
        if missing:
            raise ValueError(f"{what} must hold the teachers {list(self.teachers)}, got {list(entries)}")


class CollapseMonitor:
    """Warn once when one teacher's share of the weights stays above 0.95 for ``patience`` steps (arXiv 2504.02351)."""

    def __init__(self, patience: int = 100) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 step, got {patience}")
        self.patience = patience
        self.num_steps = 0
        self.teacher: str | None = None
        self.has_warned = False

    def update(self, weights: Mapping[str, float]) -> None:
        """Look at the weights of one step; a single teacher cannot collapse."""
        top = max(weights, key=lambda name: weights[name])
        collapsed = top if len(weights) > 1 and weights[top] > COLLAPSED * sum(weights.values()) else None
        self.num_steps = self.num_steps + 1 if collapsed == self.teacher else 1
        self.teacher = collapsed
        if collapsed is not None and self.num_steps >= self.patience and not self.has_warned:
            self.has_warned = True
            warnings.warn(
                f"the balancer has collapsed: teacher {collapsed!r} has held over {COLLAPSED:.0%} of the weight for"
                f" {self.num_steps} steps and the others are no longer learned. Use AttentionEntropyFloor, Equal or"
                " TeacherDropping instead",
                stacklevel=2,
            )
