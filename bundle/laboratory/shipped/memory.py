"""How ``models/memory.pt`` is made: SAM 2's memory, trained on the model that ships."""

import json
from pathlib import Path
from typing import Any

import torch

from bundle.atomic import write_json
from bundle.engines.checkpoint_folder import write_whole
from bundle.engines.stages import Stage, run_stages
from bundle.export.model_card import read_model_card
from bundle.laboratory.shipped.model import in_half_precision
from bundle.paths import ROOT
from bundle.phantom.dataset import GENERATOR_VERSION
from bundle.weights import file_sha256, read_state_dict


def make_shipped_memory(
    model: str | Path = ROOT / "models" / "model.pt", output_dir: str | Path = ROOT / "runs" / "shipped_memory"
) -> dict[str, Any]:
    """Train, and write the weights beside the model in half precision, with a card.

    Args:
        model: The segmenter, with its card.
        output_dir: Folder of the training; an interrupted one goes on.

    Returns:
        What ``memory.json`` holds.
    """
    model, folder = Path(model).resolve(), Path(output_dir).resolve()
    target = model.with_name("memory.pt")
    keys: dict[str, str | int | float] = {
        "checkpoint": str(model),
        "image_size": read_model_card(model)["image_size"],
        "training_precision": "bfloat16",
        "epochs": 20,
        "dataset_dir": str(folder / "phantom"),
        "output_dir": str(folder / "train"),
    }
    run_stages([Stage("train the memory", ["train.json", "train_memory.json"], keys)])
    weights = in_half_precision(read_state_dict(folder / "train" / "memory.pt"))
    write_whole(target, lambda file: torch.save(weights, file))
    card = json.loads((folder / "train" / "memory.json").read_text()) | {
        "file": target.name,
        "sha256": file_sha256(target),
        "bytes": target.stat().st_size,
        "licence": "Apache-2.0",
        "source": "make memory",
        "synthetic": f"trained on phantom frames (generator version {GENERATOR_VERSION}); no patient data",
    }
    write_json(target.with_suffix(".json"), card)
    return card
