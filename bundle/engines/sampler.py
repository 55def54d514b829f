"""The order in which training sees its frames: drawn anew for every epoch, and the same again after a resume."""

from collections.abc import Iterator, Sized
from itertools import islice
from typing import Any

import numpy as np
import torch.distributed as dist
from monai.data import DataLoader
from monai.transforms import Randomizable
from torch import Generator
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from bundle.data.clip import UnreadableStudyError
from bundle.engines.stop_request import outlive_stop_signals

UNREADABLE = "unreadable"
"""Entry of a batch: per item, why the frame that was meant could not be read; empty if it could."""


def resumable_loader(
    dataset: Any,
    transform: Randomizable | None,
    batch_size: int,
    seed: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch_factor: int = 2,
) -> DataLoader:
    """A training's data loader, which can go on from any step and gives the same frames with any number of workers.

    Args:
        dataset: The data set; its random transforms are drawn anew in every epoch.
        transform: Those transforms, the very object that ``dataset`` applies; None if it draws by the epoch itself.
        batch_size: Frames per step and process.
        seed: Of order and transforms.
        num_workers: Processes that prepare batches.
        pin_memory: For a GPU: batches in memory from which they are copied while it computes.
        prefetch_factor: Batches that each worker reads ahead.

    Raises:
        ValueError: As :class:`EpochSampler`.
    """
    return DataLoader(
        dataset if transform is None else SeededDataset(dataset, transform, seed),
        sampler=EpochSampler(dataset, seed, batch_size=batch_size),
        batch_size=batch_size,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        prefetch_factor=prefetch_factor if num_workers else None,
        pin_memory=pin_memory,
        worker_init_fn=outlive_stop_signals,
        generator=Generator(),
    )


class EpochIndex(int):
    """Index of an item that also knows the epoch it is drawn for; any data set takes it as a plain index."""

    epoch: int

    def __new__(cls, index: int, epoch: int) -> "EpochIndex":
        self = super().__new__(cls, index)
        self.epoch = epoch
        return self

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]  # how workers unpickle it
        return int(self), self.epoch


class EpochSampler(DistributedSampler):
    """Shuffle by seed and epoch, give every process a share of equal length, and start anywhere in an epoch.

    It holds no running state: epoch and position follow from the trainer's iteration. MONAI's trainers call
    ``set_epoch`` when an epoch starts, as for every ``DistributedSampler``.

    Args:
        items: What is drawn from; only its length counts. Items that do not divide among processes are left out, others
            in each epoch.
        seed: Of the order.
        rank: This process among all; None asks ``torch.distributed``, and is 0 without it.
        world_size: Number of processes; None as ``rank``, and is 1.
        batch_size: Frames per step and process; an epoch has whole batches only, and must have one.

    Raises:
        ValueError: If there are fewer items than one step of all processes takes.
    """

    def __init__(
        self,
        items: Sized,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        batch_size: int = 1,
    ) -> None:
        is_distributed = dist.is_available() and dist.is_initialized()
        if world_size is None:
            world_size = dist.get_world_size() if is_distributed else 1
        if rank is None:
            rank = dist.get_rank() if is_distributed else 0
        if batch_size < 1 or len(items) < world_size * batch_size:
            processes = f" in each of {world_size} processes" if world_size > 1 else ""
            largest = len(items) // world_size
            remedy = f"--batch_size {largest} or less" if largest else f"at most {len(items)} processes"
            raise ValueError(
                f"a step takes a batch of {batch_size}{processes}, but the data list has {len(items)} to train on: "
                f"give {remedy}, or a data list with more"
            )
        super().__init__(items, num_replicas=world_size, rank=rank, shuffle=True, seed=seed, drop_last=True)  # type: ignore[arg-type]
        self.batch_size, self._start = batch_size, 0

    def start_at(self, epoch: int, position: int) -> None:
        """Resume: the next pass is over the items of ``epoch`` from ``position`` (in this process's share) on."""
        self.epoch, self._start = epoch, position

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; from its first item, unless it is the one that ``start_at`` named."""
        if epoch != self.epoch:
            self.start_at(epoch, 0)

    def __iter__(self) -> Iterator[EpochIndex]:
        epoch = self.epoch
        return (EpochIndex(index, epoch) for index in islice(super().__iter__(), self._start, None))


class SeededDataset(Dataset):
    """Draw an item's random transforms from seed, epoch and index alone: no matter which process comes to it, and when.

    Where a frame cannot be read the next one takes its place, and its entry ``unreadable`` says why; it is empty in all
    others (:class:`bundle.engines.safe_run.UnreadableFrames`).

    Args:
        dataset: A data set of dictionaries with random transforms.
        transform: Those transforms; ``dataset`` applies this very object.
        seed: Of the draws.
    """

    def __init__(self, dataset: Any, transform: Randomizable, seed: int = 0) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: EpochIndex) -> dict[str, Any]:
        if not isinstance(index, EpochIndex):
            raise TypeError(
                f"SeededDataset needs the indices of an EpochSampler, which know their epoch, got {index!r}"
            )
        unreadable = ""
        for offset in range(len(self)):
            candidate = (index + offset) % len(self)
            self.transform.set_random_state(seed=item_seed(self.seed, index.epoch, candidate))
            try:
                return {**self.dataset[candidate], UNREADABLE: unreadable}
            except Exception as error:
                reason = _why_unreadable(error)  # of every frame: what is no reader's error is raised
                unreadable = unreadable or reason
        raise ValueError(f"no frame can be read: {unreadable}")


def _why_unreadable(error: Exception) -> str:
    """The reader's message; any other error is raised again."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnreadableStudyError | OSError):
        cause = cause.__cause__
    if cause is None:
        raise error
    return " ".join(str(cause).split())


def item_seed(seed: int, epoch: int, index: int) -> int:
    """Seed of one item's draws in one epoch, in [0, 2³²)."""
    return int(np.random.SeedSequence([seed, epoch, int(index)]).generate_state(1)[0])
