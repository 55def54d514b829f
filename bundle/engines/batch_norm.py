"""Batch norm over the frames of all processes, also on CPUs, where ``torch.nn.SyncBatchNorm`` is not available."""

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bundle.ranks import sum_over_ranks, world_size


class BatchNormOverRanks(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose batch statistics are those of all processes' frames, in values and in gradients.

    All processes have equally many frames of one size.
    """

    def forward(self, input: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C, h, w)
        if not self.training or world_size() == 1:
            return super().forward(input)
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        mean = sum_over_ranks(values.mean(dim=(0, 2, 3))) / world_size()
        centered = values - mean[:, None, None]
        variance = sum_over_ranks(centered.square().mean(dim=(0, 2, 3))) / world_size()
        self._track(mean.detach(), variance.detach(), world_size() * values.numel() // values.shape[1])
        output = centered * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            output = output * self.weight[:, None, None] + self.bias[:, None, None]
        return output.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_((variance * count / max(count - 1, 1)).to(self.running_var), share)


def share_batch_statistics(module: nn.Module) -> nn.Module:
    """Replace a network's batch norms in place; names, parameters and buffers stay the same.

    On a GPU they become ``torch.nn.SyncBatchNorm`` (timm's for timm's), else :class:`BatchNormOverRanks`.

    Raises:
        ValueError: If a batch norm is of a kind that cannot be shared on a CPU.
    """
    if next(module.parameters()).is_cuda:
        return convert_sync_batchnorm(module)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _over_ranks(child))
    return module


def _over_ranks(norm: _BatchNorm) -> BatchNormOverRanks:
    if type(norm) not in (nn.BatchNorm2d, BatchNormOverRanks):
        raise ValueError(
            f"several processes on CPUs share the statistics of nn.BatchNorm2d only, got {type(norm).__name__}: "
            "take another student, GPUs, or one process"
        )
    shared = BatchNormOverRanks(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(shared, name, getattr(norm, name))
    return shared.train(norm.training)
