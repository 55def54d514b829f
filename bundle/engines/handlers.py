"""Ignite handlers that MONAI does not have: a progress bar with the loss, an evaluation's report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from tqdm import tqdm

from bundle.keys import CLIP, FRAME, PATIENT, PIXEL_SPACING_MM, VALID
from bundle.metrics.report import EvaluationTable
from bundle.ranks import rank

if TYPE_CHECKING:
    from bundle.engines.run_log import EvaluationLog  # MLflow, which whoever trains has


def shared(handler: Any) -> Any:
    """The handler itself, which other parts of a config refer to too; MONAI wants every entry of its list written out.

    Args:
        handler: A handler.
    """
    return handler


NO_END = 1_000_000
"""Steps that no run takes: such a run ends by time, and its bar shows no remaining time."""


class ProgressBar:
    """One bar over all steps of a run (or of an evaluation), with the latest loss and validation metric.

    Args:
        description: What is going on, in a few words.
        metric: Name in ``engine.state.metrics`` to show beside the loss; None shows none.
    """

    def __init__(self, description: str, metric: str | None = None) -> None:
        self.description, self.metric = description, metric
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the engine."""
        if rank() > 0:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.TERMINATE, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Engine) -> None:
        if self._bar is not None:
            return
        steps = (engine.state.epoch_length or 0) * (engine.state.max_epochs or 1)
        self._bar = tqdm(
            total=steps if 0 < steps < NO_END else None,
            initial=engine.state.iteration,
            desc=self.description,
            unit="batch",
            mininterval=1.0,
        )

    def _advance(self, engine: Engine) -> None:
        if self._bar is None:
            return
        shown = {}
        if isinstance(engine.state.output, Mapping) and CommonKeys.LOSS in engine.state.output:
            shown["loss"] = f"{engine.state.output[CommonKeys.LOSS].item():.3f}"
        if self.metric in engine.state.metrics:
            shown[str(self.metric)] = f"{float(engine.state.metrics[self.metric]):.3f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def _close(self, _engine: Engine) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _fail(self, engine: Engine, error: Exception) -> None:
        self._close(engine)
        raise error


class EvaluationReport:
    """Collect Dice and HD95 of every frame of an evaluation, and write the tables and the figure at its end.

    Args:
        structures: Names of the label's channels.
        output_dir: Folder for ``metrics.csv``, ``metrics.json`` and ``metrics.png``.
        log: Told the summary at the end, by the first of several processes.
    """

    def __init__(self, structures: Sequence[str], output_dir: str | Path, log: "EvaluationLog | None" = None) -> None:
        self.output_dir = Path(output_dir)
        self.log = log if rank() == 0 else None
        self.table = EvaluationTable(structures)

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, _engine: Engine) -> None:
        self.table.reset()
        if self.log is not None:
            self.log.open()

    def _update(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        logits = output[CommonKeys.PRED].cpu()
        self.table.update(
            pred=(logits > 0) & (torch.as_tensor(batch[VALID]) > 0.5),
            label=output[CommonKeys.LABEL].cpu() > 0.5,
            patients=list(batch[PATIENT]),
            clips=list(batch[CLIP]),
            frames=[int(frame) for frame in batch[FRAME]],
            pixel_spacing_mm=torch.as_tensor(batch[PIXEL_SPACING_MM]),
        )

    def _finish(self, engine: Engine) -> None:
        summary = self.table.summary()
        metrics = {f"{kind}_{name}": value for kind in ("dice", "hd95") for name, value in summary[kind].items()}
        metrics |= {"mean_dice": summary["mean_dice"], "mean_hd95": summary["mean_hd95"]}
        engine.state.metrics |= {name: value for name, value in metrics.items() if value is not None}
        self.table.write(self.output_dir)
        tqdm.write(self.table.format_table())
        if self.log is not None:
            self.log.log(summary)
