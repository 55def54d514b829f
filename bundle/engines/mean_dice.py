"""Validation of phase 2: the mean Dice over frames and structures, the same in one process and in several."""

from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.metrics import do_metric_reduction
from torch import Tensor

from bundle.engines.dealt_batches import frames_of
from bundle.metrics.overlap import dice
from bundle.ranks import gather_in_turn


class MeanDiceOverRanks(Metric):
    """MONAI's ``MeanDice``, without empty labels; with several processes it is, to the last bit, that of one.

    Batches must have been dealt to the processes in turn (:class:`bundle.engines.dealt_batches.DealtBatches`).

    Args:
        masks: From the evaluator's output to binary masks: prediction and label, each ``(B, S, H, W)``.
    """

    def __init__(self, masks: Callable[[Any], tuple[Tensor, Tensor]]) -> None:
        super().__init__(output_transform=masks)

    def reset(self) -> None:
        """Forget all frames."""
        self._scores: list[tuple[Any, Tensor]] = []

    def iteration_completed(self, engine: Engine) -> None:
        """Called by the evaluator after each batch."""
        pred, label = self._output_transform(engine.state.output)
        self._scores.append((frames_of(engine.state.batch), dice(pred, label).cpu()))

    def update(self, output: Any) -> None:
        """Not used: a batch is needed beside the output."""

    def compute(self) -> float:
        """Mean over the structures of each frame, then over the frames of all processes."""
        scores = gather_in_turn(self._scores)
        if not scores:
            raise NotComputableError("a mean Dice needs at least one frame, got none")
        return float(do_metric_reduction(torch.cat(scores), "mean")[0])
