"""The main job on synthetic data: phantom, distillation, training, evaluation, inference, export."""

import json
import time
from pathlib import Path
from typing import Any

from bundle.metrics.atomic import write_json
from bundle.workflows.stages import ROOT, Stage, peak_memory_gb, run_stages

DISTILLATION = "phase 1: distil three teachers into the student"
TRAINING = "phase 2: train SAM 2's mask decoder on the student"


def run_demo(output_dir: str | Path = ROOT / "runs" / "demo") -> dict[str, Any]:
    """Run every stage with its defaults and write ``summary.json``.

    Args:
        output_dir: Folder of everything that the demo makes.

    Returns:
        The summary: ``mean_dice``, ``dice`` and ``hd95`` per structure, ``unit``, ``seconds``, ``peak_memory_gb``, and
        the paths of what to look at.
    """
    start = time.monotonic()
    folder = Path(output_dir).resolve()
    seconds = run_stages(demo_stages(folder))
    metrics = json.loads((folder / "evaluate" / "metrics.json").read_text())
    summary = {
        "data": "synthetic phantom",
        "mean_dice": metrics["mean_dice"],
        "dice": metrics["dice"],
        "hd95": metrics["hd95"],
        "unit": metrics["unit"],
        "seconds": round(time.monotonic() - start, 1),
        "seconds_per_stage": {title: round(value, 1) for title, value in seconds.items()},
        "peak_memory_gb": round(peak_memory_gb(), 2),
        "pictures": [str(path) for path in sorted(folder.glob("*/**/*.png")) if "masks" not in path.parts],
        "videos": [str(path) for path in sorted(folder.glob("inference/**/*.mp4"))],
        "model": str(folder / "export" / "model.onnx"),
    }
    write_json(folder / "summary.json", summary)
    return summary


def demo_stages(folder: Path) -> list[Stage]:
    """The demo's stages, which only say where things are; everything else is the configs' default."""
    data = {"dataset_dir": str(folder / "phantom")}
    model = str(folder / "train" / "model.pt")
    return [
        Stage(
            DISTILLATION,
            ["distill.json"],
            {**data, "output_dir": str(folder / "distill")},
        ),
        Stage(
            TRAINING,
            ["train.json"],
            {
                **data,
                "output_dir": str(folder / "train"),
                "student_checkpoint": str(folder / "distill" / "student.pt"),
            },
        ),
        Stage(
            "evaluation on held-out patients",
            ["train.json", "evaluate.json"],
            {**data, "output_dir": str(folder / "evaluate"), "checkpoint": model},
            run_id="evaluating",
        ),
        Stage(
            "inference on a held-out patient's DICOM",
            ["inference.json"],
            {
                "input": str(folder / "phantom" / "demo_input"),
                "output_dir": str(folder / "inference"),
                "checkpoint": model,
            },
            run_id="run",
        ),
    ]


def format_summary(summary: dict[str, Any]) -> str:
    """The end of the demo: a table of Dice and HD95 per structure, and what to look at."""
    width = max(len(name) for name in summary["dice"])
    lines = [f"{'structure':<{width}}   Dice   HD95 {summary['unit']}"]
    for name, dice in summary["dice"].items():
        lines.append(f"{name:<{width}}  {_number(dice, 3):>5}  {_number(summary['hd95'][name], 2):>8}")
    lines.append(f"{'mean':<{width}}  {_number(summary['mean_dice'], 3):>5}")
    lines.append("")
    lines.append(f"synthetic patients; {summary['seconds'] / 60:.1f} minutes, {summary['peak_memory_gb']:.1f} GB")
    lines += [f"  {path}" for path in [*summary["pictures"], *summary["videos"], summary["model"]]]
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
