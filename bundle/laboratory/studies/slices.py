"""Slices of a 3-D volume as frames: slice-wise students on real CT, scored on the sub-volumes of unseen patients.

Every slice is cut to a square around the lesion, as if a reader had marked it: in a first trial on whole slices,
students of so few patients found nothing in others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bundle.atomic import write_json
from bundle.data.datalist import read_datalist
from bundle.data.labels import parse_label, read_labels
from bundle.data.make_datalist import write_datalist
from bundle.data.readers import read_clip
from bundle.engines.stages import Stage, children_cpu_seconds, run_stages
from bundle.export.model_card import load_segmenter
from bundle.inference.predictor import ClipInferer
from bundle.laboratory.benchmarks.record import describe_machine
from bundle.laboratory.flicker import flicker
from bundle.laboratory.public_sets.ct_lesions import STRUCTURE, make_ct_lesion_datalist
from bundle.laboratory.studies.volume_masks import VolumeBox, asked_by_box, ellipsoid, volume_dice
from bundle.metrics.overlap import dice
from bundle.paths import ROOT
from bundle.segmentation.segmenter import Segmenter
from bundle.weights import file_sha256

RANDOM, DISTILLED = "random weights", "distilled"
VARIANTS = (RANDOM, DISTILLED)
ELLIPSOID = "the box's ellipsoid"
AUTOMATIC, BOX = "automatic", "asked by a box"
ALL_TRAINING = (1.0, 0.0, 0.0)
TRAINED, HELD_OUT = "training", "test"

FIELD_MM = 128.0
"""Side of the square that is cut out of every slice: 1 mm for a pixel of the input."""

IMAGE_SIZE, BATCH_SIZE, NUM_FOLDS = 128, 8, 3
EPOCHS = {"distill.json": 4, "train.json": 20}
"""Of phase 1 and of phase 2: few, so that all trainings together take minutes on one core."""

MasksOf = Callable[[Tensor, Tensor], Mapping[tuple[str, str], Tensor]]
"""Slices in [0, 1] and true masks, both ``(Z, 1, H, W)`` -> masks alike, bool, by variant and way."""

NEVER = 1000
"""Epochs between two validations: nothing is chosen by them, so no patient is spent on them."""


@dataclass(frozen=True)
class VolumeScore:
    """One way to get masks, on one sub-volume."""

    variant: str  # How the student began, or that there is none
    # How they were got: automatically, or with the lesion's true 3-D box in every slice that it has; without labels
    # as in :mod:`bundle.laboratory.studies.slices_zero`
    masks: str
    seed: int  # Of the training; without labels the number of the distillation
    section: str  # "test" for a patient whom the model has not seen, "training" for one whom it has
    patient: str  # Number of the patient
    volume: str  # Name of the sub-volume
    slice_dice: float  # Mean Dice of the slices that show the lesion
    volume_dice: float  # Dice of all slices together, which also counts masks in slices without the lesion
    flicker: float  # Change from slice to slice beyond the truth's: :func:`bundle.laboratory.flicker.flicker`


def run_slices(folder: str | Path, work_dir: str | Path, seeds: Sequence[int] = (0, 1, 2)) -> dict[str, Any]:
    """Train on the slices of some patients and score all sub-volumes, fold by fold and seed by seed.

    What is trained is not trained again, as long as its configs, keys, data and weights are the same.

    Returns:
        ``scores``, each :class:`VolumeScore` as a dictionary, and how they were made.

    Raises:
        FileNotFoundError: If there are no sub-volumes.
        ValueError: If there are fewer patients than folds, or a sub-volume is wrong in any way.
    """
    work_dir = Path(work_dir).resolve()
    every = make_ct_lesion_datalist(folder, work_dir / "volumes", ALL_TRAINING, field_mm=FIELD_MM)
    scores: list[VolumeScore] = []
    cpu_seconds = 0.0
    for seed in seeds:
        for fold, datalist in enumerate(make_folds(every, NUM_FOLDS)):
            target = work_dir / f"seed{seed}_fold{fold}"
            cpu_seconds += sum(train_once(stage, every.parent) for stage in training_stages(datalist, target, seed))
            models = {variant: load_segmenter(target / _slug(variant) / "model.pt") for variant in VARIANTS}
            scores += score_volumes(partial(_all_masks, models), datalist, seed)
    return {
        "data": {key: read_datalist(every)[key] for key in ("source", "license")},
        "scale": {
            "field_mm": FIELD_MM,
            "image_size": IMAGE_SIZE,
            "batch_size": BATCH_SIZE,
            "folds": NUM_FOLDS,
            "epochs": EPOCHS,
        },
        "seeds": list(seeds),
        "cpu_seconds": round(cpu_seconds),
        "machine": describe_machine(),
        "finished": date.today().isoformat(),
        "scores": [vars(score) for score in scores],
    }


def make_folds(every: Path, num_folds: int) -> list[Path]:
    """Data lists beside ``every``, each of which holds out other patients, so that every patient is held out once.

    Raises:
        ValueError: If there are fewer patients than folds.
    """
    content = read_datalist(every)
    items = content.pop(TRAINED)
    patients = sorted({item["patient"] for item in items})
    if len(patients) < num_folds:
        raise ValueError(f"{num_folds} folds need as many patients, got {len(patients)}: {patients}")
    paths = []
    for fold in range(num_folds):
        held_out = patients[fold::num_folds]
        sections = {
            TRAINED: [item for item in items if item["patient"] not in held_out],
            HELD_OUT: [item for item in items if item["patient"] in held_out],
        }
        paths.append(write_datalist(every.with_name(f"fold{fold}.json"), {**content, **sections}))
    return paths


def training_stages(datalist: Path, target: Path, seed: int) -> list[Stage]:
    """The project's own phases: 2 from random weights; 1 on the same slices without labels; 2 from its student."""
    common: dict[str, str | int | float] = {
        "datalist": str(datalist),
        "image_size": IMAGE_SIZE,
        "batch_size": BATCH_SIZE,
        "seed": seed,
        "val_interval": NEVER,
        "validate::dataset::data": "@train::dataset::data",
        "validate::dataset::cache_rate": 0.0,
        "resume": "False",
    }

    def stage(name: str, configs: list[str], **more: str) -> Stage:
        places: dict[str, str | int | float] = {"output_dir": str(target / _slug(name)), "epochs": EPOCHS[configs[0]]}
        return Stage(f"{target.name}: {name}", configs, {**common, **places, **more})

    structures, student = f"['{STRUCTURE}']", str(target / "phase_1" / "student.pt")
    return [
        stage(RANDOM, ["train.json", "no_distillation.json"], structures=structures),
        stage("phase 1", ["distill.json"]),
        stage(DISTILLED, ["train.json"], structures=structures, student_checkpoint=student),
    ]


def train_once(stage: Stage, volumes: Path) -> float:
    """Run a training unless it was run with the same configs, keys, volumes and weights; its processor time in s."""
    done = Path(str(stage.overrides["output_dir"])) / "done.json"
    keys = {key: value for key, value in stage.overrides.items() if key != "output_dir"}
    files = [ROOT / "configs" / name for name in stage.configs] + sorted(volumes.rglob("*.nii.gz"))
    files += [Path(str(keys[key])) for key in ("datalist", "student_checkpoint") if key in keys]
    files += sorted((ROOT / "models" / "teachers").glob("*.safetensors"))
    identity = {"keys": keys, "files": {f"{path.parent.name}/{path.name}": file_sha256(path) for path in files}}
    if done.is_file() and (known := json.loads(done.read_text(encoding="utf-8")))["identity"] == identity:
        return float(known["cpu_seconds"])
    done.unlink(missing_ok=True)
    before = children_cpu_seconds()
    run_stages([stage])
    cpu_seconds = children_cpu_seconds() - before
    write_json(done, {"identity": identity, "cpu_seconds": cpu_seconds})
    return cpu_seconds


def score_volumes(masks_of: MasksOf, datalist: Path, seed: int) -> list[VolumeScore]:
    """Segment every sub-volume slice by slice, and compare the masks with the true one on the CT's own pixels."""
    scores = []
    content = read_datalist(datalist)
    for section in (HELD_OUT, TRAINED):
        for item in content.get(section, ()):
            image = datalist.parent / item["image"]
            label = torch.from_numpy(read_labels(parse_label(item["label"], datalist.parent, ()), [STRUCTURE])).bool()
            for (variant, way), masks in masks_of(torch.from_numpy(read_clip(image).frames), label).items():
                values = (float(dice(masks, label).nanmean()), volume_dice(masks, label), float(flicker(masks, label)))
                where = (section, item["patient"], image.name.removesuffix(".nii.gz"))
                scores.append(VolumeScore(variant, way, seed, *where, *(round(value, 4) for value in values)))
    return scores


def _all_masks(models: Mapping[str, Segmenter], slices: Tensor, label: Tensor) -> dict[tuple[str, str], Tensor]:
    """Variant and way -> masks ``(Z, 1, H, W)``."""
    box = VolumeBox.around(label)
    found = {(ELLIPSOID, BOX): ellipsoid(box, (len(slices), *slices.shape[2:]))}
    for variant, model in models.items():
        found[variant, AUTOMATIC] = ClipInferer(model.image_size, progress=False)(slices, model)
        found[variant, BOX] = asked_by_box(model, slices, box, STRUCTURE)
    return found


def _slug(name: str) -> str:
    return name.replace(" ", "_")
