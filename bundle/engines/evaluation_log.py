"""What an evaluation tells MLflow: how good the model is, in the run of the training that made it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundle.engines.provenance import describe_code, describe_data
from bundle.engines.tracked_run import TrackedRun
from bundle.engines.tracking import RunAddress, effective_uri
from bundle.weights import file_sha256


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
        """Find the training's run, or begin one, before the work starts.

        Raises:
            ValueError: If MLflow cannot be used there, with the remedy.
        """
        is_there = self.training_run.is_there()
        self._run = TrackedRun(self.training_run if is_there else self.address, self.run_name)
        facts = {"evaluated_sha256": file_sha256(self.checkpoint)}
        self._run.log_facts({}, facts if is_there else {**facts, **describe_code()})
        self._run.log_inputs(describe_data(self.datalist, self.section))

    def log(self, summary: Mapping[str, Any]) -> None:
        """Log the summary of an :class:`bundle.metrics.report.EvaluationTable`, and its table and figure.

        Raises:
            RuntimeError: If it has not been opened.
        """
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
