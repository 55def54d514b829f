"""What the demo's model is compared with: the student without distillation, and MONAI's U-Net, for the same time."""

import json
from pathlib import Path
from typing import Any

from bundle.atomic import write_json
from bundle.command.demo import DISTILLATION, TRAINING, run_demo
from bundle.engines.stages import Stage, run_stages
from bundle.paths import ROOT

BASELINES = {
    "student without distillation": "no_distillation.json",
    "MONAI BasicUNet": "laboratory/overlays/unet.json",
}


def run_baselines(output_dir: str | Path = ROOT / "runs" / "demo") -> dict[str, Any]:
    """Train every baseline on the demo's frames for as long as the demo trained in both phases, and evaluate it.

    Returns:
        ``seconds`` of training, and per model ``mean_dice`` and ``dice`` per structure; also in ``baseline.json``.
    """
    folder = Path(output_dir).resolve()
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.is_file() else run_demo(folder)
    seconds = summary["seconds_per_stage"][DISTILLATION] + summary["seconds_per_stage"][TRAINING]
    result = {"distilled student": _scores(folder / "evaluate" / "metrics.json")}
    for name, overlay in BASELINES.items():
        target = folder / "baseline" / Path(overlay).stem
        run_stages(baseline_stages(name, overlay, folder, target, seconds))
        result[name] = _scores(target / "evaluate" / "metrics.json")
    report = {"data": "synthetic phantom", "seconds": round(seconds, 1), "models": result}
    write_json(folder / "baseline.json", report)
    return report


def baseline_stages(name: str, overlay: str, folder: Path, target: Path, seconds: float) -> list[Stage]:
    """Training for a given time, and evaluation on the same held-out patients."""
    data = {"dataset_dir": str(folder / "phantom")}
    return [
        Stage(
            f"{name}: training for {seconds / 60:.1f} minutes",
            ["train.json", overlay, "laboratory/overlays/time_budget.json"],
            {**data, "output_dir": str(target), "seconds": seconds, "resume": "False"},
        ),
        Stage(
            f"{name}: evaluation",
            ["train.json", overlay, "evaluate.json"],
            {**data, "output_dir": str(target / "evaluate"), "checkpoint": str(target / "model.pt")},
            run_id="evaluating",
        ),
    ]


def format_baselines(report: dict[str, Any]) -> str:
    """Models side by side: mean Dice and Dice per structure."""
    models = report["models"]
    structures = next(iter(models.values()))["dice"]
    width = max(len(name) for name in structures)
    lines = [f"Dice on held-out synthetic patients after {report['seconds'] / 60:.1f} minutes of training each"]
    lines.append(" " * width + "".join(f"  {name:>28}" for name in models))
    for structure in structures:
        lines.append(
            f"{structure:<{width}}" + "".join(f"  {model['dice'][structure]:>28.3f}" for model in models.values())
        )
    lines.append(f"{'mean':<{width}}" + "".join(f"  {model['mean_dice']:>28.3f}" for model in models.values()))
    return "\n".join(lines)


def _scores(path: Path) -> dict[str, Any]:
    metrics = json.loads(path.read_text())
    return {"mean_dice": metrics["mean_dice"], "dice": metrics["dice"]}
