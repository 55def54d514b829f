"""What a training and an evaluation tell MLflow: which code, which data, which model, and how it went."""

import json
import logging
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from tqdm import tqdm

from bundle.data.datalist import read_datalist
from bundle.engines.running_config import TRAINER, built_settings
from bundle.engines.tracked_run import TrackedRun
from bundle.engines.tracking import RunAddress, effective_uri
from bundle.extras import needs_extra
from bundle.paths import ROOT
from bundle.ranks import rank
from bundle.weights import file_sha256

with needs_extra("train", "training"):
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

NAME = "vfss-agglomerative-distillation"
LONGEST_DIGEST = 36
"""Of MLflow."""
LOAD_SECONDS = 10.0
"""Between two looks at how busy the machine is."""

logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # a line of its own where there is no GPU


class RunLog:
    """A training's run in MLflow: losses and validation over the same steps, settings, data, weights, and the machine.

    Best after what writes the weights. A resumed training goes on in its run, whose address is in ``mlflow.json``.

    Its settings are those of the config that it is a part of. Of several processes the first logs.

    Args:
        address: Where to log.
        output_dir: Folder of the training; ``config.json`` in it is copied at the end.
        datalist: The data list.
        validator: The evaluator whose metrics are logged too.
        run_name: None: the time at which the run began.
        log_every: Steps between two entries of the losses.
        weights: Weights in ``output_dir``, the main file first: copied at the end with their cards.
        pictures: Whether the folder ``pictures``, which shows validation frames, is copied as well; None: if the data
            list says that it is synthetic.
    """

    def __init__(
        self,
        address: RunAddress,
        output_dir: str | Path,
        datalist: str | Path,
        validator: Engine,
        run_name: str | None = None,
        log_every: int = 10,
        weights: Sequence[str] = (),
        pictures: bool | None = None,
    ) -> None:
        self.address = RunAddress(effective_uri(address.tracking_uri), str(address.experiment_name))
        self.run_name, self.output_dir = run_name, Path(output_dir)
        self.datalist, self.validator, self.log_every = datalist, validator, log_every
        self.pictures, self.weights = has_synthetic_frames(datalist) if pictures is None else pictures, weights
        self.parameters: Callable[[], Mapping[str, Any]] = built_settings(TRAINER)
        self._run: TrackedRun | None = None
        self._load: MachineLoad | None = None

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        if rank() > 0:
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.log_every), self._log_step)
        engine.add_event_handler(Events.TERMINATE, self._stop)
        engine.add_event_handler(Events.COMPLETED, self._complete)

    @property
    def run(self) -> TrackedRun:
        """The run, which begins with the training."""
        if self._run is None:
            raise RuntimeError("the run in MLflow begins when the trainer starts")
        return self._run

    def _start(self, engine: Engine) -> None:
        address = self._resumed() if engine.state.iteration else None
        self._run = TrackedRun(address or self.address, self.run_name)
        self.run.address.write(self.output_dir)
        length = {"max_epochs": engine.state.max_epochs, "epoch_length": engine.state.epoch_length}
        self.run.log_facts({**self.parameters(), **length}, describe_code())
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
        loss = getattr(engine.loss_function, "module", engine.loss_function)  # several processes wrap it
        values = {"loss": engine.state.output[CommonKeys.LOSS].item(), **getattr(loss, "latest", {})}
        rates = {f"lr_group_{index}": group["lr"] for index, group in enumerate(engine.optimizer.param_groups)}
        self.run.log_metrics({**values, **rates, **(self._load.values() if self._load else {})}, engine.state.iteration)

    def _log_validation(self, validator: Engine, trainer: Engine) -> None:
        self.run.log_metrics(validator.state.metrics, trainer.state.iteration)

    def _stop(self, _engine: Engine) -> None:
        self.run.catch_up()
        self.run.close("KILLED")

    def _complete(self, _engine: Engine) -> None:
        self.run.catch_up()
        for path in [self.output_dir / "config.json", *self._pictures()]:
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

    def _pictures(self) -> list[Path]:
        return sorted((self.output_dir / "pictures").glob("*")) if self.pictures else []


class EvaluationLog:
    """An evaluation in the training's run, if that is where it is to be logged; else in a run of its own.

    Args:
        training_run: From :func:`bundle.engines.tracking.training_run`.
        tracking_uri: Where to log.
        experiment_name: Group of runs.
        run_name: Of a run of its own; None: the training's run, or the time.
        checkpoint: The weights.
        datalist: The data list.
        section: What of it is evaluated; first part of the metrics' names.
        output_dir: Folder of the evaluation.
    """

    def __init__(
        self,
        training_run: RunAddress,
        tracking_uri: str,
        experiment_name: str,
        run_name: str | None,
        checkpoint: str | Path,
        datalist: str | Path,
        section: str,
        output_dir: str | Path,
    ) -> None:
        self.address = RunAddress(effective_uri(tracking_uri), str(experiment_name))
        is_same_place = replace(training_run, run_id=None) == self.address
        self.training_run = training_run if is_same_place and run_name is None else self.address
        self.run_name, self.checkpoint, self.datalist = run_name, Path(checkpoint), datalist
        self.section, self.output_dir = section, Path(output_dir)
        self._run: TrackedRun | None = None

    def open(self) -> None:
        """Find the training's run, or begin one, before the work starts; an MLflow that cannot be used is refused."""
        is_there = self.training_run.is_there()
        self._run = TrackedRun(self.training_run if is_there else self.address, self.run_name)
        facts = {"evaluated_sha256": file_sha256(self.checkpoint)}
        self._run.log_facts({}, facts if is_there else {**facts, **describe_code()})
        self._run.log_inputs(describe_data(self.datalist, self.section))

    def log(self, summary: Mapping[str, Any]) -> None:
        """Log the summary of an :class:`bundle.metrics.report.EvaluationTable`, and its table and figure."""
        if self._run is None:
            raise RuntimeError("open() comes before log()")
        self._run.catch_up()
        self._run.log_metrics(evaluation_metrics(summary, self.section), 0)
        for name in ("metrics.json", "metrics.png"):
            self._run.log_file(self.output_dir / name, self.section)
        # The training's run keeps the time at which it ended.
        self._run.close(None if self._run.address == self.training_run else "FINISHED")


def evaluation_metrics(summary: Mapping[str, Any], section: str) -> dict[str, float]:
    """Means, and Dice and HD95 per structure, by name; what no frame gives is left out."""
    distance = f"hd95_{summary['unit']}"
    values = {f"{section}/mean_dice": summary["mean_dice"], f"{section}/mean_{distance}": summary["mean_hd95"]}
    values |= {f"{section}/dice/{name}": value for name, value in summary["dice"].items()}
    values |= {f"{section}/{distance}/{name}": value for name, value in summary["hd95"].items()}
    return {name: value for name, value in values.items() if value is not None}


def describe_code(root: Path = ROOT) -> dict[str, str]:
    """MLflow's tags of the code: the bundle's version and, of a clone, the commit, "-dirty" if files were changed."""
    version = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    tags = {"bundle_version": version, "mlflow.source.name": f"{NAME} {version}", "mlflow.source.type": "LOCAL"}
    commit = git_commit(root)
    return tags if commit is None else {**tags, "mlflow.source.git.commit": commit}


def git_commit(root: Path) -> str | None:
    """The commit of a clone; None for a copy without history, or without git."""
    if not (root / ".git").exists():  # git itself would go up to whatever folder this one lies in
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def describe_data(datalist: str | Path, *sections: str) -> list[DatasetInput]:
    """Sections of a data list, if they are in it, as MLflow's inputs: clips, patients, and its checksum."""
    path = Path(datalist)
    content, digest = read_datalist(path), file_sha256(path)[:LONGEST_DIGEST]
    return [_input(path.name, digest, section, content[section]) for section in sections if content.get(section)]


def has_synthetic_frames(datalist: str | Path) -> bool:
    """Whether a data list says that no patient is in it."""
    return bool(read_datalist(datalist).get("synthetic", False))


def _input(name: str, digest: str, section: str, items: list[dict[str, object]]) -> DatasetInput:
    profile = {"clips": len(items), "patients": len({item["patient"] for item in items})}
    source = json.dumps({"uri": name})
    dataset = Dataset(f"{name}: {section}", digest, "local", source, profile=json.dumps(profile))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", section)])


class MachineLoad:
    """MLflow's system metrics without its thread, which logs on an axis of its own and ends at the first outage."""

    def __init__(self, address: RunAddress) -> None:
        self._monitor = SystemMetricsMonitor(address.run_id, tracking_uri=address.tracking_uri)
        self._next = 0.0

    def values(self) -> dict[str, float]:
        """Processor, memory, disk, network and GPU, by MLflow's names; empty soon after the last time."""
        if time.monotonic() < self._next:
            return {}
        self._next = time.monotonic() + LOAD_SECONDS
        self._monitor.collect_metrics()
        values = self._monitor.aggregate_metrics()
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        return {f"system/{name}": value for name, value in values.items()}
