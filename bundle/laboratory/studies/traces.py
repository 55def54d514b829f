"""What a distillation left in its MLflow file: how the teachers were weighed, and how well each was matched."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from bundle.engines.tracking import sqlite_uri
from bundle.losses.distillation import COLLAPSED

ENTROPY = "weight_entropy"
CURVES = ("weight/", ENTROPY)

Curve = Sequence[Sequence[float]]
"""Step and value."""


def read_traces(folder: str | Path) -> dict[str, Any]:
    """Curves and validation of the latest run in a distillation's folder.

    Args:
        folder: Its ``output_dir``, with ``mlruns.db``.

    Returns:
        ``curves``: ``weight/<teacher>`` and ``weight_entropy`` over the steps; ``val_loss`` and ``val_cosine``: by
        teacher, at the end; the loss is in the distance of that run.

    Raises:
        ValueError: If the file holds no run.
    """
    client = MlflowClient(sqlite_uri(Path(folder).resolve() / "mlruns.db"))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    if not runs:
        raise ValueError(f"{folder}/mlruns.db must hold a run of phase 1, got none: remove the folder and run again")
    run_id, latest = runs[0].info.run_id, runs[0].data.metrics
    curves = {
        name: [(entry.step, round(entry.value, 4)) for entry in client.get_metric_history(run_id, name)]
        for name in latest
        if name.startswith(CURVES)
    }
    ends = {kind: _of_teachers(latest, f"{kind}_") for kind in ("val_loss", "val_cosine")}
    return {"curves": curves, **ends}


def _of_teachers(values: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): round(value, 4) for name, value in values.items() if name.startswith(prefix)}


def is_collapsed(curves: Mapping[str, Curve]) -> bool:
    """Whether one of several teachers has over 95% of the weights in the whole last quarter of what was logged."""
    weights = [curve for name, curve in sorted(curves.items()) if name.startswith("weight/")]
    if len(weights) < 2:
        return False
    steps = list(zip(*([value for _, value in curve] for curve in weights), strict=True))
    last = steps[-max(1, len(steps) // 4) :]
    return any(all(values[index] > COLLAPSED * sum(values) for values in last) for index in range(len(weights)))
