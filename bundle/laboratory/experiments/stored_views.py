"""What the student loses when its teachers were stored: short trainings, live against stored in several ways.

All runs share data, validation frames and the standardizers, so that their validation losses can be compared.
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from mlflow import MlflowClient

from bundle.atomic import write_json
from bundle.engines.stages import Stage, run_stages
from bundle.engines.tracking import sqlite_uri

SMALL: dict[str, str | int | float] = {
    "image_size": 128,
    "datalist::num_train": 20,
    "datalist::num_validation": 5,
    "datalist::num_test": 1,
    "datalist::num_frames": 8,
    "datalist::seed": 0,
    "epochs": 8,
    "val_interval": 8,
    "resume": "False",
}
"""160 frames at 128²; validation after the last epoch."""


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: For the table.
        configs: Overlays on ``distill.json``.
        overrides: Its own keys.
    """

    name: str
    configs: tuple[str, ...] = ("stored_features.json",)
    overrides: dict[str, str | int | float] = field(default_factory=dict)


VARIANTS = (
    Variant("float16, 8 views", overrides={"num_views": 8}),
    Variant("float16, 4 views", overrides={"num_views": 4}),
    Variant("float16, 1 view", overrides={"num_views": 1}),
    Variant("int8, 4 views", overrides={"num_views": 4, "precision": "int8"}),
    Variant("live teachers", configs=()),
)


def compare_stored_views(output_dir: str | Path, seeds: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    """Fill a store, train every variant with every seed, and tabulate the validation.

    Args:
        output_dir: A new folder.
        seeds: Of the initial weights and the order of the frames; data and views are the same.

    Returns:
        Per variant ``val_loss`` and the mean of the teachers' ``val_cosine``, a list over the seeds; also in
        ``stored_views.json``.
    """
    folder = Path(output_dir).resolve()
    shared = {**SMALL, "dataset_dir": str(folder / "phantom")}
    stored = {**shared, "store_dir": str(folder / "store"), "views::seed": 0}
    fill = ["distill.json", "stored_features.json", "cache_features.json"]
    run_stages(
        [
            Stage("8 views in float16", fill, {**stored, "output_dir": str(folder / "fill"), "num_views": 8}, "run"),
            Stage("4 views in int8", fill, {**stored, "output_dir": str(folder / "fill"), "precision": "int8"}, "run"),
        ]
    )
    statistics: dict[str, str | int | float] = {}
    results: dict[str, dict[str, list[float]]] = {
        variant.name: {"val_loss": [], "val_cosine": []} for variant in VARIANTS
    }
    for seed in seeds:
        for number, variant in enumerate(VARIANTS):
            target = folder / f"{number}_{seed}"
            keys = {**(stored if variant.configs else shared), **variant.overrides, **statistics, "seed": seed}
            configs = ["distill.json", *variant.configs]
            run_stages([Stage(f"{variant.name}, seed {seed}", configs, {**keys, "output_dir": str(target)})])
            if not statistics:  # one for all, though their frames differ
                path = str(target / "statistics.safetensors")
                statistics = {"standardizers::path": path, "standardizers::frames_id": "None"}
            for name, value in _validation(target).items():
                results[variant.name][name].append(value)
    report = {"data": "synthetic phantom", "seeds": list(seeds), "variants": results}
    write_json(folder / "stored_views.json", report)
    return report


def format_stored_views(report: dict[str, Any]) -> str:
    """A Markdown table: each seed's loss and cosine, and their means."""
    lines = ["| teachers | validation loss | mean | validation cosine | mean |", "|---|---|---|---|---|"]
    for name, values in report["variants"].items():
        cells = [name]
        for metric in ("val_loss", "val_cosine"):
            cells += [" / ".join(f"{value:.4f}" for value in values[metric]), f"{mean(values[metric]):.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _validation(folder: Path) -> dict[str, float]:
    """The last validation of a run, from its MLflow file."""
    client = MlflowClient(sqlite_uri(folder / "mlruns.db"))
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    metrics = run.data.metrics
    cosines = [value for name, value in metrics.items() if name.startswith("val_cosine_")]
    return {"val_loss": metrics["val_loss"], "val_cosine": mean(cosines)}
