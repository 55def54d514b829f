"""How ``models/model.pt`` is made: the demo's model goes on at 512 x 512 on more synthetic patients."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bundle.atomic import write_json
from bundle.data.phantom.dataset import GENERATOR_VERSION
from bundle.engines.checkpoint_folder import write_whole
from bundle.teachers.checkpoint import file_sha256, read_state_dict
from bundle.workflows.stages import ROOT, Stage, run_stages

CONFIGS = ("train.json", "fine_tune.json", "shipped_model.json")


def make_shipped_model(
    start: str | Path = ROOT / "runs" / "demo" / "train" / "model.pt",
    output_dir: str | Path = ROOT / "runs" / "shipped_model",
    target: str | Path = ROOT / "models" / "model.pt",
) -> dict[str, Any]:
    """Train, write the weights in half precision, and evaluate that file on held-out synthetic patients.

    Args:
        start: The segmenter to go on from: the demo's.
        output_dir: Folder of the training and the evaluation; an interrupted training goes on.
        target: The weights; ``<name>.json`` beside them gets checksum, origin, licence and scores.

    Returns:
        What the JSON file holds.
    """
    folder, target = Path(output_dir).resolve(), Path(target).resolve()
    training = Stage(
        "train at 512 x 512", CONFIGS, {"segmenter_checkpoint": str(start), "output_dir": str(folder / "train")}
    )
    run_stages([training])
    weights = in_half_precision(read_state_dict(folder / "train" / "model.pt"))
    write_whole(target, lambda file: torch.save(weights, file))
    evaluation = Stage(
        "evaluate on held-out patients",
        (*CONFIGS, "evaluate.json"),
        {"checkpoint": str(target), "output_dir": str(folder / "evaluate")},
        run_id="evaluating",
    )
    run_stages([evaluation])
    metrics = json.loads((folder / "evaluate" / "metrics.json").read_text())
    card = json.loads((folder / "train" / "model.json").read_text()) | {
        "file": target.name,
        "sha256": file_sha256(target),
        "bytes": target.stat().st_size,
        "licence": "Apache-2.0",
        "source": "make model",
        "synthetic": f"trained and measured on phantom frames (generator version {GENERATOR_VERSION}); no patient data",
        "held_out": {key: metrics[key] for key in ("mean_dice", "dice", "hd95", "unit")},
    }
    write_json(target.with_suffix(".json"), card)
    return card


def in_half_precision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as float16, which halves the file; vectors (biases, statistics of normalisation) stay."""
    return {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()
    }
