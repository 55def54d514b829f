"""When a training run saves itself, and how it goes on after a crash: with the very next batch, as if nothing had been.

The checkpoint holds all that the next step depends on. The order and the augmentation of the frames are not in it: they
follow from seed, epoch and index (:mod:`bundle.engines.sampler`), so that the step's number says where to go on.
"""

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite
import ignite.distributed as idist
import monai
import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from tqdm import tqdm

from bundle.engines.checkpoint_folder import CheckpointFolder
from bundle.engines.optimizer import ends_optimizer_step
from bundle.engines.sampler import EpochSampler
from bundle.engines.stop_request import EXIT_STATUS, StopRequest

LONGEST_DIFFERENCE = 100
MOST_DIFFERENCES = 6
SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}


class Checkpoints:
    """Save a trainer regularly, resume it, and stop it between two steps when asked to.

    Best the first of the trainer's handlers: others then start from what it has restored. After a step it comes last by
    itself, so that what it saves is the step's end.

    Args:
        folder: Folder of ``last.pt``, ``previous.pt`` and ``best.pt``.
        objects: What is saved, by name: network, loss, optimizer, schedule, random state …; each has ``state_dict`` and
            ``load_state_dict``. The trainer's own progress and its gradient scaler are added.
        sampler: Of the training loader.
        settings: What a run must have in common with the checkpoint that it goes on from: plain values by name, as from
            :func:`bundle.engines.running_config.run_settings`.
        stop: Requests to end the run.
        every: Time or steps between two checkpoints, such as "10 minutes" or "500 steps". There is one at the end, and
            one whenever validation is better than ever.
        resume: Whether to go on from the folder's checkpoint; otherwise its checkpoints are removed at the start.
        validator: The evaluator whose key metric says what is best.

    Raises:
        ValueError: If ``every`` is not understood.
    """

    def __init__(
        self,
        folder: str | Path,
        objects: Mapping[str, Any],
        sampler: EpochSampler,
        settings: Mapping[str, Any],
        stop: StopRequest,
        every: str = "10 minutes",
        resume: bool = True,
        validator: Any = None,
    ) -> None:
        self.folder = CheckpointFolder(folder)
        self.objects, self.sampler = dict(objects), sampler
        self.settings = {**settings, "processes": idist.get_world_size(), "batch_size": sampler.batch_size}
        self.stop, self.resume, self.validator = stop, resume, validator
        self._every_steps, self._every_seconds = parse_interval(every)
        self._saved_at_step, self._saved_at_time = 0, time.monotonic()
        self._stopped: str | None = None
        self._saver: Checkpoint | None = None

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)

    def exit_if_stopped(self) -> None:
        """Last step of the workflow: a run that was asked to stop says so and ends with its own exit status.

        Raises:
            SystemExit: With status 75, if it was.
        """
        if self._stopped is not None:
            raise SystemExit(EXIT_STATUS)

    def _come_last(self, engine: Engine) -> None:
        if engine.has_event_handler(self._after_step):
            return
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        engine.add_event_handler(Events.COMPLETED, self._save)
        for event in (Events.COMPLETED, Events.TERMINATE):
            engine.add_event_handler(event, self.stop.restore)

    def _start(self, engine: Any) -> None:
        self._come_last(engine)
        self._stopped = None
        self._saved_at_step, self._saved_at_time = 0, time.monotonic()
        parts = {**self.objects, "trainer": engine}
        if engine.scaler is not None:
            parts["scaler"] = engine.scaler
        if self.validator is not None:
            parts["best"] = BestMetric(self.validator)
        self._saver = Checkpoint(parts, self._write, filename_pattern="last.pt")
        self.stop.listen()
        if self.resume:
            self._resume(engine, parts)
        elif idist.get_rank() == 0:
            self.folder.clear()

    def _resume(self, engine: Any, parts: Mapping[str, Any]) -> None:
        if idist.get_rank() == 0:
            self.folder.remove_unfinished()
        found = self.folder.load()
        if found is None:
            return
        checkpoint, path = found
        check_settings(checkpoint["settings"], self.settings, path)
        max_epochs, epoch_length = engine.state.max_epochs, engine.state.epoch_length
        Checkpoint.load_objects(parts, checkpoint)
        engine.state.max_epochs, engine.state.epoch_length = max_epochs, epoch_length
        step, total = engine.state.iteration, max_epochs * epoch_length
        self.sampler.start_at(step // epoch_length + 1, step % epoch_length * self.sampler.batch_size)
        self._saved_at_step = step
        self._mend_best(engine, path)
        if step < total:
            tqdm.write(f"resuming after step {step} of {total} from {path}")
        else:
            tqdm.write(
                f"finished before, nothing to train: {path} is at step {step}; --resume False "
                "(of vfss: resume=False) starts over"
            )

    def _mend_best(self, engine: Any, path: Path) -> None:
        """A crash may have come between writing the best checkpoint as the last one and keeping it as the best."""
        is_best = self._is_best(engine) and engine.state.iteration % engine.state.epoch_length == 0
        if is_best and path == self.folder.last and idist.get_rank() == 0:
            self.folder.keep_as_best()

    def _is_best(self, engine: Any) -> bool:
        return self.validator is not None and self.validator.state.best_metric_epoch == engine.state.epoch

    def _after_step(self, engine: Any) -> None:
        is_end_of_epoch = engine.state.iteration % engine.state.epoch_length == 0
        if not is_end_of_epoch and ends_optimizer_step(engine):  # gradients in between are in no checkpoint
            self._save_or_stop(engine, self._is_due(engine))

    def _after_epoch(self, engine: Any) -> None:
        is_best = self._is_best(engine)
        self._save_or_stop(engine, self._is_due(engine) or is_best)
        if is_best and idist.get_rank() == 0:
            self.folder.keep_as_best()

    def _save_or_stop(self, engine: Engine, is_due: bool) -> None:
        reason = self.stop.reason()
        is_due, is_to_stop = in_any_process(is_due, reason is not None)
        if is_due or is_to_stop:
            self._save(engine)
        if is_to_stop:
            self._stopped = reason or "another process was asked to stop"
            self.stop.done()
            tqdm.write(f"stopped after step {engine.state.iteration} ({self._stopped}): give the same command to go on")
            engine.terminate(skip_completed=True)

    def _is_due(self, engine: Engine) -> bool:
        if self._every_steps is not None:
            return engine.state.iteration - self._saved_at_step >= self._every_steps
        return time.monotonic() - self._saved_at_time >= self._every_seconds

    def _save(self, engine: Engine) -> None:
        if self._saver is not None and engine.state.iteration > self._saved_at_step:
            self._saver(engine)
            self._saved_at_step, self._saved_at_time = engine.state.iteration, time.monotonic()

    def _write(self, checkpoint: Mapping[str, Any], _name: str, _metadata: Mapping[str, Any]) -> None:
        check_finite(checkpoint, self.folder.last)
        if idist.get_rank() == 0:
            self.folder.save({**checkpoint, "settings": self.settings, "versions": versions()})


class BestMetric:
    """The best validation so far, which MONAI keeps in the evaluator's state only."""

    def __init__(self, validator: Any) -> None:
        self.validator = validator

    def state_dict(self) -> dict[str, float]:
        """Value and epoch of the best validation; epoch -1 before the first."""
        state = self.validator.state
        return {"metric": float(state.best_metric), "epoch": int(state.best_metric_epoch)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to them."""
        self.validator.state.best_metric = state["metric"]
        self.validator.state.best_metric_epoch = state["epoch"]


def parse_interval(text: str) -> tuple[int | None, float]:
    """Steps (None if it is a time) and seconds of "500 steps", "10 minutes" and the like."""
    number, _, unit = str(text).strip().partition(" ")
    unit = unit if unit.endswith("s") else unit + "s"
    if number.isdecimal() and int(number) > 0:
        if unit == "steps":
            return int(number), 0.0
        if unit in SECONDS:
            return None, float(int(number) * SECONDS[unit])
    raise ValueError(f"checkpoint_every must be a number of steps, {', '.join(SECONDS)}, as '10 minutes', got {text!r}")


def check_settings(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint of another configuration.

    Raises:
        ValueError: Naming what differs, with both values.
    """
    names = [name for name in {**saved, **wanted} if saved.get(name) != wanted.get(name)]
    if names:
        shown = [_difference(name, saved.get(name), wanted.get(name)) for name in names[:MOST_DIFFERENCES]]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        differences = ", ".join(shown) + more
        raise ValueError(
            f"{path} is of another configuration ({differences}): use another output_dir, or start over with "
            "--resume False (of vfss: resume=False)"
        )


def _difference(name: str, saved: Any, wanted: Any) -> str:
    text = f"{name} {saved!r}, now {wanted!r}"
    return text if len(text) < LONGEST_DIFFERENCE else f"another {name}"  # two checksums tell a reader nothing


def check_finite(checkpoint: Mapping[str, Any], last: Path) -> None:
    """Keep weights that are not finite out of the checkpoints, and name the first such tensor."""
    for part in ("network", "loss"):
        for name, value in checkpoint.get(part, {}).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all():
                raise ValueError(
                    f"{part} {name} is no longer finite after step {checkpoint['trainer']['iteration']}; the last good "
                    f"checkpoint is {last}: lower the learning rate"
                )


def in_any_process(*claims: bool) -> tuple[bool, ...]:
    """Per claim whether it holds in any process; all of them have to call it together."""
    if idist.get_world_size() == 1:
        return claims
    flags = idist.all_reduce(torch.tensor(claims, dtype=torch.int32, device=idist.device()), "MAX")
    return tuple(bool(flag) for flag in flags.tolist())  # type: ignore[union-attr]


def versions() -> dict[str, str]:
    """Versions of what computed the checkpoint, for the record."""
    return {"torch": str(torch.__version__), "monai": monai.__version__, "ignite": ignite.__version__}


class RandomState:
    """Python's, NumPy's and PyTorch's global generators, on every GPU, and generators of our own by name.

    With several processes each has its own states; a checkpoint holds all of them, in order of rank.
    """

    def __init__(self, generators: Mapping[str, torch.Generator] | None = None) -> None:
        self.generators = dict(generators or {})

    def state_dict(self) -> dict[str, Any]:
        """States of all processes; called in all of them."""
        if idist.get_world_size() == 1:
            return {"ranks": [self._capture()]}
        ranks: list[Any] = [None] * idist.get_world_size()
        dist.all_gather_object(ranks, self._capture())
        return {"ranks": ranks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to this process's states."""
        own = state["ranks"][idist.get_rank()]
        random.setstate(own["python"])
        name, keys, *position = own["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *position))  # noqa: NPY002 - as below
        torch.set_rng_state(own["torch"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(own["cuda"])
        for generator_name, generator in self.generators.items():
            generator.set_state(own["generators"][generator_name])

    def _capture(self) -> dict[str, Any]:
        name, keys, *position = np.random.get_state()  # noqa: NPY002 - MONAI's and others' draws use the global one
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *position),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
        }
