"""What the processes of one run tell each other. A run without ``torchrun`` is one process, and all of this is idle."""

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


def world_size() -> int:
    """Number of processes of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number; process 0 is the one that writes."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(value: Value) -> list[Value]:
    """Every process's value, in the order of the processes, on every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def gather_in_turn(parts: Iterable[tuple[Hashable, Value]]) -> list[Value]:
    """Every process's values, taken in turn: the order of one process, when its batches were dealt to several.

    Args:
        parts: Of this process: what tells a batch from others, and the value. Of equal keys the first value counts.
    """
    shares = [list(share) for share in gather(list(parts))]
    ordered: dict[Hashable, Value] = {}
    for turn in range(max(len(share) for share in shares)):
        for share in shares:
            for key, value in share[turn : turn + 1]:
                ordered.setdefault(key, value)
    return list(ordered.values())


def from_first_rank(value: Value) -> Value:
    """Process 0's value, on every process."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def mean_over_ranks(value: Tensor) -> Tensor:
    """Mean of the processes' values, with the gradient of this process's value alone.

    ``DistributedDataParallel`` averages gradients. If every process computes the same function of such means, that
    average is the gradient of the function for all frames together: each process contributes its own share.
    """
    return value if world_size() == 1 else _MeanOverRanks.apply(value)


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of the processes' values; its gradient goes back to all of them."""
    return _SumOverRanks.apply(value) if world_size() > 1 else value


class _MeanOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        mean = value.detach().clone()
        dist.all_reduce(mean)
        return mean / world_size()

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.apply(gradient)
