"""Validation in several processes whose result is, to the last bit, that of one."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.data import DataLoader
from monai.metrics import do_metric_reduction
from monai.utils import CommonKeys
from torch import Tensor
from torch.utils.data import Sampler

from bundle.keys import CLIP, FRAME
from bundle.metrics.overlap import dice
from bundle.ranks import gather_in_turn, rank, world_size


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


def dealt_loader(dataset: Any, batch_size: int, num_workers: int = 0) -> DataLoader:
    """A data loader of :class:`DealtBatches`, in the order of the data set.

    Args:
        dataset: What is evaluated.
        batch_size: Frames per batch.
        num_workers: Processes that prepare batches.
    """
    return DataLoader(dataset, batch_sampler=DealtBatches(dataset, batch_size), num_workers=num_workers)


def _frames_of(batch: Any) -> tuple[tuple[str, int], ...]:
    """Clip and index of the frames of a data loader's batch, which tell it from other batches."""
    return tuple((str(clip), int(frame)) for clip, frame in zip(batch[CLIP], batch[FRAME], strict=True))


class OverBatches(Metric):
    """What all batches give together; with several processes, to the last bit, as in one (see :class:`DealtBatches`).

    Args:
        value: From the evaluator's output for a batch to what is kept of it.
        combine: From what is kept of all batches, in order, to the metric.
    """

    def __init__(self, value: Callable[[Any], Any], combine: Callable[[Sequence[Any]], float]) -> None:
        super().__init__(output_transform=value)
        self.combine = combine

    def reset(self) -> None:
        """Forget all batches."""
        self._values: list[tuple[Any, Any]] = []

    def iteration_completed(self, engine: Engine) -> None:
        """Called by the evaluator after each batch."""
        self._values.append((_frames_of(engine.state.batch), self._output_transform(engine.state.output)))

    def update(self, output: Any) -> None:
        """Not used: a batch is needed beside the output."""

    def compute(self) -> float:
        """The metric over the batches of all processes."""
        values = gather_in_turn(self._values)
        if not values:
            raise NotComputableError("a metric needs at least one batch, got none")
        return self.combine(values)


class MeanDiceOverRanks(OverBatches):
    """MONAI's ``MeanDice`` of masks, logits above zero, against labels ``(B, S, H, W)``, without empty labels."""

    def __init__(self) -> None:
        super().__init__(_dice, _mean_over_frames)


def _dice(output: Mapping[str, Any]) -> Tensor:
    return dice((output[CommonKeys.PRED] > 0).float(), output[CommonKeys.LABEL].float()).cpu()


def _mean_over_frames(scores: Sequence[Tensor]) -> float:
    """Mean over the structures of each frame, then over the frames."""
    return float(do_metric_reduction(torch.cat(list(scores)), "mean")[0])
