"""One training in several processes, started by ``torchrun``; with one process all of this is idle."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bundle.engines.batch_norm import share_batch_statistics
from bundle.one_line import report_in_one_line
from bundle.ranks import gather, rank, world_size

TORCHRUN = "torchrun --nproc_per_node=<processes> -m monai.bundle run ..."


def process_device() -> torch.device:
    """This process's own GPU, or the CPU on a machine without one; fewer GPUs than processes are refused."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise ValueError(f"every process needs a GPU of its own, got process {index} of a machine with {count}")
    return torch.device("cuda", index)


def start_processes(device: torch.device, timeout_minutes: float = 60) -> None:
    """Join the other processes: NCCL between GPUs, gloo between CPUs.

    Args:
        device: This process's device.
        timeout_minutes: How long to wait for the others, at the start and in every exchange.

    Raises:
        ValueError: If this process was not started by ``torchrun``.
    """
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(f"several processes are started by {TORCHRUN}, which sets {', '.join(missing)}: not set here")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = timedelta(minutes=timeout_minutes)
    store, own_rank, num_processes = next(dist.rendezvous("env://", timeout=timeout))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore("processes", store),
        rank=own_rank,
        world_size=num_processes,
        timeout=timeout,
    )
    idist.sync()  # ignite's set-up is an exchange: all processes do it here, and not each when it first asks
    sys.excepthook = partial(report_first_error, dist.PrefixStore("errors", store))


def report_first_error(
    store: dist.Store, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show an error as :func:`report_in_one_line` does, but only the first in all processes, counted in ``store``."""
    try:
        is_first = store.add("count", 1) == 1
    except RuntimeError:  # the process that held the store is gone
        is_first = True
    if is_first:
        report_in_one_line(kind, error, trace)


def end_processes() -> None:
    """Leave the other processes, at the end of a run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def has_several_processes() -> bool:
    """Whether ``torchrun`` has started more processes than this one."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


@contextmanager
def first_process_first() -> Iterator[None]:
    """Hold all processes but the first until that one has left the block; if it fails in it, end quietly.

    What is made in it, such as a data set, is made by the first, and found made by the others.
    """
    if rank() > 0:
        try:
            gather(None)
        except RuntimeError:
            raise SystemExit(1) from None  # the first process has said why
    yield
    if rank() == 0:
        gather(None)


def data_parallel(module: nn.Module, find_unused_parameters: bool = False) -> nn.Module:
    """The module with gradients averaged, and batch statistics shared, over the processes.

    Parameters of the first process go to all. A module without trainable parameters, or in a single process, is
    returned as it is.

    Args:
        module: Network, or loss with parameters of its own; its batch norms are replaced in place.
        find_unused_parameters: Whether there are trainable parameters that a step does not use: without a teacher of a
            fine grid the neck's maps at strides 4 and 8; SAM 2's mask prompts and object score.
    """
    if world_size() == 1 or not any(parameter.requires_grad for parameter in module.parameters()):
        return module
    # The strides that this is about differ in 1 x 1 convolutions only, for which all layouts are the same.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    parallel = DistributedDataParallel(share_batch_statistics(module), find_unused_parameters=find_unused_parameters)
    parallel.broadcast_buffers = False  # after the start they stay equal: the batch statistics are shared
    return parallel
