"""What keeps a training safe, as one part of a config: nothing is lost to a crash, a bad frame or a broken loss."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.utils import CommonKeys
from tqdm import tqdm

from bundle.engines.checkpoints import Checkpoints, RandomState
from bundle.engines.optimizer import GradientClipping
from bundle.engines.running_config import TRAINER, run_settings, running_parser
from bundle.engines.sampler import UNREADABLE
from bundle.engines.stop_request import StopRequest
from bundle.keys import CLIP, FRAME


class SafeRun:
    """Checkpoints and resuming, stop requests, clipped gradients, unreadable frames, and a loss that must be finite.

    Best the second of the trainer's handlers, after validation: others then start from what it has restored.

    Args:
        output_dir: Folder of the run; in it are ``checkpoints`` and, to ask for an end, the file ``stop``.
        parts: What a checkpoint holds, by name: network, loss, optimizer …; each has ``state_dict`` and
            ``load_state_dict``. Those that have ``attach``, such as a schedule, are attached to the trainer, too. The
            state of a ``torch.Generator`` is kept for every process.
        dataloader: From :func:`bundle.engines.sampler.resumable_loader`.
        evaluator: Its key metric says which checkpoint is the best.
        checkpoint_every: Time or steps between two checkpoints, such as "10 minutes" or "500 steps".
        resume: Whether to go on from the last checkpoint; otherwise they are removed at the start.
        gradient_clip: Largest norm of the network's gradients.
        most_unreadable: Largest share of the training frames that may be unreadable.
    """

    def __init__(
        self,
        output_dir: str | Path,
        parts: Mapping[str, Any],
        dataloader: DataLoader,
        evaluator: Engine,
        checkpoint_every: str = "10 minutes",
        resume: bool = True,
        gradient_clip: float = math.inf,
        most_unreadable: float = 0.01,
    ) -> None:
        generators = {name: part for name, part in parts.items() if isinstance(part, torch.Generator)}
        saved = {name: part for name, part in parts.items() if name not in generators}
        self.unreadable = UnreadableFrames(len(dataloader.dataset), most_unreadable)  # type: ignore[arg-type]
        self.checkpoints = Checkpoints(
            Path(output_dir) / "checkpoints",
            {**saved, "unreadable": self.unreadable, "random_state": RandomState(generators)},
            dataloader.sampler,  # type: ignore[arg-type]
            run_settings(TRAINER) if running_parser() else {},
            StopRequest(Path(output_dir) / "stop"),
            checkpoint_every,
            resume,
            evaluator,
        )
        followers = [part for part in saved.values() if hasattr(part, "attach")]
        self._handlers = [
            self.checkpoints,
            StopOnNonFiniteLoss(self.checkpoints.folder.last),
            GradientClipping(gradient_clip),
            *followers,
            self.unreadable,
        ]

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        for handler in self._handlers:
            handler.attach(engine)

    def train(self, trainer: Engine) -> None:
        """Step of a workflow: the training, from its beginning or from its last checkpoint.

        Raises:
            SystemExit: With status 75 if it was asked to stop, with status 1 if frames were left out.
        """
        trainer.run()
        self.checkpoints.exit_if_stopped()
        self.unreadable.exit_if_any()


class StopOnNonFiniteLoss:
    """Stop with the batch's clips and frames when the loss is no longer finite; nothing is saved after it.

    Args:
        last: File that the message names as the last good checkpoint, if it is there.
    """

    def __init__(self, last: str | Path | None = None) -> None:
        self.last = None if last is None else Path(last)

    def attach(self, engine: Engine) -> None:
        """Called with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._check)

    def _check(self, engine: Engine) -> None:
        output: Any = engine.state.output
        loss = output[CommonKeys.LOSS].item()
        if math.isfinite(loss):
            return
        batch: Any = engine.state.batch
        frames = [f"{clip}:{int(frame)}" for clip, frame in zip(batch[CLIP], batch[FRAME], strict=True)]
        is_saved = self.last is not None and self.last.is_file()
        kept = f"the last good checkpoint is {self.last}" if is_saved else "no checkpoint has been saved yet"
        raise ValueError(
            f"the loss is {loss} at step {engine.state.iteration} (clip:frame {', '.join(frames)}); {kept}: lower the "
            "learning rate, or look at these frames"
        )


class UnreadableFrames:
    """Name, once, every file of which :class:`bundle.engines.sampler.SeededDataset` had to replace a frame.

    Args:
        num_frames: Frames of the training data.
        most: Largest share of them that may be replaced in an epoch; one frame always may.
    """

    def __init__(self, num_frames: int, most: float = 0.01) -> None:
        self.num_frames, self.most = num_frames, most
        self.reasons: list[str] = []
        self._replaced = 0

    def attach(self, engine: Engine) -> None:
        """Called with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)

    def exit_if_any(self) -> None:
        """After training, when the weights are saved: a run that left frames out says so.

        Raises:
            SystemExit: With status 1 if frames were left out.
        """
        if self.reasons:
            tqdm.write(
                f"done without the frames of {len(self.reasons)} training files that cannot be read, named above"
            )
            raise SystemExit(1)

    def state_dict(self) -> dict[str, list[str]]:
        """What was found."""
        return {"reasons": self.reasons}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.reasons = list(state["reasons"])

    def _begin(self, _engine: Engine) -> None:
        self._replaced = 0

    def _look(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        for reason in filter(None, batch.get(UNREADABLE, ())):
            self._replaced += 1
            if reason not in self.reasons:
                self.reasons.append(reason)
                tqdm.write(f"training frames are replaced by their neighbors: {reason}")
        if self._replaced > max(1, self.most * self.num_frames):
            raise ValueError(
                f"more than {self.most:.0%} of the {self.num_frames} training frames cannot be read: repair the files, "
                f"or take them out of the data list; the last is {self.reasons[-1]}"
            )
