"""The main job on synthetic data: phantom, distillation, training, evaluation, inference, export."""

import json
import time
from pathlib import Path
from typing import Any

from bundle.atomic import write_json
from bundle.engines.stages import Stage, peak_memory_gb, run_stages
from bundle.paths import ROOT
from bundle.phantom import generate_study
from bundle.phantom.writer import write_dicom

DISTILLATION = "phase 1: distill three teachers into the student"
IMAGE_SIZE = 256  # the configs' default
STAGES_WITH_PICTURES = ("distill/pictures/*.png", "evaluate/*.png", "inference/*/*.png")
INPUT_SEED = 987_654_321  # the data set's seeds are far below
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
    (folder / "export").mkdir(parents=True, exist_ok=True)
    make_input(folder / "input" / "cine.dcm")
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
        "pictures": [str(path) for stage in STAGES_WITH_PICTURES for path in sorted(folder.glob(stage))],
        "videos": [str(path) for path in sorted(folder.glob("inference/*/*.mp4"))],
        "reports": [str(path) for path in sorted(folder.glob("inference/*/report.html"))],
        "models": [str(folder / "train" / "model.pt"), *(str(path) for path in sorted(folder.glob("export/*.*")))],
    }
    write_json(folder / "summary.json", summary)
    return summary


def make_input(path: Path) -> None:
    """A synthetic patient of whom no other stage knows, as a DICOM cine at a clinic's size and frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(generate_study(INPUT_SEED, size=512, num_frames=45), path, patient="demo")


def demo_stages(folder: Path) -> list[Stage]:
    """The demo's stages, which only say where things are; everything else is the configs' default."""
    data = {"dataset_dir": str(folder / "phantom")}
    training = {**data, "resume": "False"}  # the whole is timed
    model = str(folder / "train" / "model.pt")
    return [
        Stage(
            DISTILLATION,
            ["distill.json"],
            {**training, "output_dir": str(folder / "distill")},
        ),
        Stage(
            TRAINING,
            ["train.json"],
            {
                **training,
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
            "inference on a new patient's DICOM",
            ["inference.json"],
            {
                "input": str(folder / "input"),
                "output_dir": str(folder / "inference"),
                "checkpoint": model,
                "writes_refused": True,
            },
            run_id="run",
        ),
        *(
            Stage(
                f"export to {name}",
                ["inference.json"],
                {
                    "filepath": str(folder / "export" / file),
                    "checkpoint": model,
                    "ckpt_file": model,
                    "input_shape": f"[1, 1, {IMAGE_SIZE}, {IMAGE_SIZE}]",
                    **options,
                },
                run_id="network_def",
                verb=verb,
            )
            for name, verb, file, options in (
                ("TorchScript", "ckpt_export", "model.ts", {"use_trace": "True"}),
                ("ONNX", "onnx_export", "model.onnx", {}),
            )
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
    lines += [f"  {path}" for made in ("pictures", "videos", "reports", "models") for path in summary[made]]
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
