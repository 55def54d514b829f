"""What a training tells MLflow: which code, which data, which model, and how it went."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import nn
from tqdm import tqdm

from bundle.engines.machine_load import MachineLoad
from bundle.engines.provenance import describe_code, describe_data
from bundle.engines.tracked_run import TrackedRun
from bundle.engines.tracking import RunAddress, effective_uri
from bundle.weights import file_sha256


class RunLog:
    """A training's run in MLflow: losses and validation over the same steps, settings, data, weights, and the machine.

    Best after what writes the weights. A resumed training goes on in its run, whose address is in ``mlflow.json``.

    Args:
        tracking_uri: Where to log.
        experiment_name: Group of runs.
        run_name: None: the time at which the run began.
        output_dir: Folder of the training.
        parameters: Settings to show.
        datalist: The data list.
        loss: The loss, which keeps its terms in ``latest``.
        log_every: Steps between two entries of the losses.
        validator: The evaluator whose metrics are logged too.
        artifacts: Files and folders of ``output_dir`` to copy at the end.
        weights: Weights in ``output_dir``, the main file first: copied at the end with their cards.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment_name: str,
        run_name: str | None,
        output_dir: str | Path,
        parameters: Mapping[str, Any],
        datalist: str | Path,
        loss: nn.Module,
        log_every: int,
        validator: Engine,
        artifacts: Sequence[str] = (),
        weights: Sequence[str] = (),
    ) -> None:
        self.address = RunAddress(effective_uri(tracking_uri), str(experiment_name))
        self.run_name, self.output_dir = run_name, Path(output_dir)
        self.parameters, self.datalist, self.loss, self.validator = parameters, datalist, loss, validator
        self.log_every, self.artifacts, self.weights = log_every, artifacts, weights
        self._run: TrackedRun | None = None
        self._load: MachineLoad | None = None

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.log_every), self._log_step)
        engine.add_event_handler(Events.TERMINATE, self._stop)
        engine.add_event_handler(Events.COMPLETED, self._complete)

    @property
    def run(self) -> TrackedRun:
        """The run, which begins with the training.

        Raises:
            RuntimeError: If it has not begun.
        """
        if self._run is None:
            raise RuntimeError("the run in MLflow begins when the trainer starts")
        return self._run

    def _start(self, engine: Engine) -> None:
        address = self._resumed() if engine.state.iteration else None
        self._run = TrackedRun(address or self.address, self.run_name)
        self.run.address.write(self.output_dir)
        length = {"max_epochs": engine.state.max_epochs, "epoch_length": engine.state.epoch_length}
        self.run.log_facts({**self.parameters, **length}, describe_code())
        self.run.log_inputs(describe_data(self.datalist, "training", "validation"))
        self.run.go_on()
        self._load = MachineLoad(self.run.address)
        if not self.validator.has_event_handler(self._log_validation):
            self.validator.add_event_handler(Events.EPOCH_COMPLETED, self._log_validation, engine)

    def _resumed(self) -> RunAddress | None:
        """The run that a resumed training goes on in, if it is where this one is to be."""
        known = RunAddress.read(self.output_dir)
        is_same = known is not None and replace(known, run_id=None) == self.address
        return known if is_same and known is not None and known.is_there() else None

    def _log_step(self, engine: Any) -> None:
        values = {"loss": engine.state.output[CommonKeys.LOSS].item(), **self.loss.latest}  # type: ignore[dict-item]
        rates = {f"lr_group_{index}": group["lr"] for index, group in enumerate(engine.optimizer.param_groups)}
        self.run.log_metrics({**values, **rates, **(self._load.values() if self._load else {})}, engine.state.iteration)

    def _log_validation(self, validator: Engine, trainer: Engine) -> None:
        self.run.log_metrics(validator.state.metrics, trainer.state.iteration)

    def _stop(self, _engine: Engine) -> None:
        self.run.catch_up()
        self.run.close("KILLED")

    def _complete(self, _engine: Engine) -> None:
        self.run.catch_up()
        for path in _files(self.output_dir, self.artifacts):
            self.run.log_file(path)
        weights = [self.output_dir / name for name in self.weights]
        for path in weights:
            self.run.log_file(path, "model")
            self.run.log_file(path.with_suffix(".json"), "model")
        if weights and weights[0].is_file():
            self.run.log_facts({}, {"model_sha256": file_sha256(weights[0])})
        self.run.close("FINISHED")
        metrics = {name: float(value) for name, value in self.validator.state.metrics.items()}
        if metrics:
            tqdm.write("last validation: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))


def _files(folder: Path, names: Sequence[str]) -> list[Path]:
    paths = [folder / name for name in names]
    return [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
