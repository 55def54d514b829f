"""How the weights in models/ are made: the segmenter from the demo's, and SAM 2's memory for it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bundle.atomic import write_json
from bundle.engines.checkpoint_folder import write_whole
from bundle.engines.stages import Stage, run_stages
from bundle.export.model_card import read_model_card
from bundle.paths import ROOT
from bundle.phantom.dataset import GENERATOR_VERSION
from bundle.weights import file_sha256, read_state_dict

START = ROOT / "runs" / "demo" / "train" / "model.pt"
COARSE = ("train.json", "fine_tune.json", "laboratory/overlays/shipped_model_coarse.json")
FINE = ("train.json", "fine_tune.json", "laboratory/overlays/shipped_model.json")
SECTIONS = {"test": "held_out", "hard_test": "held_out_hard"}
"""Sections of the data list that nothing is trained on, and their names in the card."""


def make_shipped_model(
    start: str | Path = START,
    output_dir: str | Path = ROOT / "runs" / "shipped_model",
    target: str | Path = ROOT / "models" / "model.pt",
    only_fine: bool = False,
) -> dict[str, Any]:
    """Train at 256, then at 512, write the weights in half precision, and evaluate that file on held-out patients.

    Args:
        start: The segmenter to go on from: the demo's, or an older one that shipped.
        output_dir: Folder of the trainings and evaluations; an interrupted training goes on.
        target: The weights; ``<name>.json`` beside them gets checksum, origin, license and scores.
        only_fine: Leave the training at 256 out: for weights that have been through it.

    Raises:
        FileNotFoundError: If there is nothing to go on from.
    """
    if not Path(start).is_file():
        raise FileNotFoundError(f"no weights to go on from: {start}; run `make demo`, or name others with --start")
    start, folder, target = Path(start).resolve(), Path(output_dir).resolve(), Path(target).resolve()
    origin = file_sha256(start)  # before the target, which may be the same file, is written
    coarse, fine = folder / "coarse", folder / "fine"
    stages = [_training("train at 512 x 512", FINE, start if only_fine else coarse / "model.pt", fine)]
    if not only_fine:
        stages.insert(0, _training("train at 256 x 256", COARSE, start, coarse))
    run_stages(stages)
    _write_weights(fine / "model.pt", target)
    run_stages([_evaluation(section, target, folder) for section in SECTIONS])
    return _write_card(
        fine / "model.json",
        target,
        source="scripts/laboratory/make_model.py --only_fine" if only_fine else "make model",
        start_sha256=origin,
        synthetic=f"trained and measured on phantom frames (generator version {GENERATOR_VERSION}); no patient data",
        **{name: _scores(folder / section) for section, name in SECTIONS.items()},
    )


def _training(title: str, configs: Sequence[str], start: Path, output_dir: Path) -> Stage:
    return Stage(title, configs, {"segmenter_checkpoint": str(start), "output_dir": str(output_dir)})


def _evaluation(section: str, model: Path, folder: Path) -> Stage:
    keys: dict[str, str | int | float] = {
        "checkpoint": str(model),
        "output_dir": str(folder / section),
        "validate::section": section,
    }
    return Stage(f"evaluate on {section}", (*FINE, "evaluate.json"), keys, run_id="evaluating")


def _scores(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text())
    return {key: metrics[key] for key in ("mean_dice", "dice", "hd95", "unit")}


def in_half_precision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as float16, which halves the file; vectors (biases, statistics of normalization) stay."""
    return {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()
    }


def make_shipped_memory(
    model: str | Path = ROOT / "models" / "model.pt", output_dir: str | Path = ROOT / "runs" / "shipped_memory"
) -> dict[str, Any]:
    """Train, and write the weights beside the model in half precision, with a card."""
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
    _write_weights(folder / "train" / "memory.pt", target)
    synthetic = f"trained on phantom frames (generator version {GENERATOR_VERSION}); no patient data"
    return _write_card(folder / "train" / "memory.json", target, source="make memory", synthetic=synthetic)


def _write_weights(trained: Path, target: Path) -> None:
    weights = in_half_precision(read_state_dict(trained))
    write_whole(target, lambda file: torch.save(weights, file))


def _write_card(trained: Path, target: Path, **more: Any) -> dict[str, Any]:
    """Beside the weights: the training's card, what the file is, and more."""
    file = {"file": target.name, "sha256": file_sha256(target), "bytes": target.stat().st_size, "license": "Apache-2.0"}
    card = json.loads(trained.read_text()) | file | more
    write_json(target.with_suffix(".json"), card)
    return card
