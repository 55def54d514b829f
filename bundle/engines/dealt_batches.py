"""Evaluation in several processes whose result is, to the last bit, that of one."""

from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import Sampler

from bundle.keys import CLIP, FRAME
from bundle.ranks import rank, world_size


class DealtBatches(Sampler[list[int]]):
    """Deal the batches of one process to all of them in turn, whole and unchanged: a batch sampler for evaluation.

    The network then sees the very batches that a single process would give it, and no frame twice. Processes get
    equally many batches or one less; one that would get none is given the first, which
    :func:`bundle.ranks.gather_in_turn` counts once.

    Args:
        items: What is evaluated; only its length counts.
        batch_size: Frames per batch.

    Raises:
        ValueError: If there is nothing to evaluate.
    """

    def __init__(self, items: Sized, batch_size: int) -> None:
        if len(items) == 0:
            raise ValueError("evaluation needs at least one frame, got none: check the data list")
        batches = [
            list(range(start, min(start + batch_size, len(items)))) for start in range(0, len(items), batch_size)
        ]
        self.batches = batches[rank() :: world_size()] or batches[:1]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def frames_of(batch: Any) -> tuple[tuple[str, int], ...]:
    """Clip and index of the frames of a data loader's batch, which tell it from other batches."""
    return tuple((str(clip), int(frame)) for clip, frame in zip(batch[CLIP], batch[FRAME], strict=True))
