"""Phase 1's loss over the frames of all processes, so that N processes take the step of one with N times the batch.

Averaging gradients, as ``DistributedDataParallel`` does, is not enough: the mean over valid positions has another
denominator on every process, and a balancer's weights depend on the batch. Both parts here are put around a distance
and a balancer by ``configs/multi_gpu_distill.json``. In evaluation mode they ask no other process: there processes may
have different numbers of batches.
"""

import torch
from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced
from bundle.losses.ranks import mean_over_ranks, rows_of_all_ranks


class DistanceOverRanks(nn.Module):
    """A distance's mean over the valid positions of all processes' frames.

    Args:
        distance: One of :mod:`bundle.losses.distances`: a mean over positions, weighted by their coverage.
    """

    def __init__(self, distance: nn.Module) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:  # (B, C, h, w) -> ()
        local = self.distance(pred, target, weight)
        if not self.training:
            return local
        covered = weight.sum().to(local.dtype)
        total, covered = mean_over_ranks(torch.stack([local * covered, covered]))
        return total / covered.clamp_min(torch.finfo(covered.dtype).tiny)


class BalancerOverRanks(nn.Module):
    """A balancer that sees the embeddings of all processes' frames, so that the weights are the same on all of them.

    The losses that it is given must be the same on all processes already: see :class:`DistanceOverRanks`.

    Args:
        balancer: One of :mod:`bundle.losses.balance`; those that read the embedding need only its mean over positions.
    """

    def __init__(self, balancer: nn.Module) -> None:
        super().__init__()
        self.balancer = balancer

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K,), (B, C, h, w)
        if not self.training:
            return self.balancer(losses, embedding)
        summary = embedding.detach().float()
        summary = summary.mean(dim=(2, 3)) if summary.ndim == 4 else summary
        return self.balancer(losses, rows_of_all_ranks(summary))
