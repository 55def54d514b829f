"""From annotators' labels to a better model: a data list, a fine-tuning, a comparison on held-out patients."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor

from bundle.annotation.images import ImageCache
from bundle.annotation.label_maps import read_annotation
from bundle.annotation.refusals import RefusedRequestError
from bundle.atomic import atomic_folder, write_json
from bundle.data.dicom_files import read_dataset
from bundle.data.kinds import is_dicom
from bundle.data.make_datalist import FIRST_PART_OF_THE_NAME
from bundle.data.sources import own_files
from bundle.deidentify.pseudonyms import Pseudonyms
from bundle.engines.stages import Stage
from bundle.export.model_card import load_segmenter, read_model_card
from bundle.inference.predictor import ClipInferer
from bundle.keys import FIELD_OF_VIEW, PIXEL_ASPECT
from bundle.metrics.overlap import dice
from bundle.paths import ROOT

CONFIGS = ("train.json", "fine_tune.json")
HELD_OUT_EVERY = 3  # of every three patients, the second to be labeled is held out
# Options of a training, and their defaults.
TRAINING_OPTIONS: dict[str, float] = {"max_epochs": 10, "batch_size": 4, "learning_rate": 0.0003}
OF_MONAI_LABEL = {"model", "client_id"}  # what MONAI Label's clients add to a request


@dataclass(frozen=True)
class LabeledImage:
    """An image with a final label."""

    image: Path  # its file, or the folder of a series
    label: Path  # its label file, with our values
    frames: tuple[int, ...]  # the frames that were labeled

    def identity(self) -> str:
        """The patient: by a DICOM header, else by the start of the file's name, as in ``p001_a.avi``; never written."""
        path = own_files(self.image)[0] if self.image.is_dir() else self.image
        identity = re.match(FIRST_PART_OF_THE_NAME, path.name)
        name = identity.group() if identity else path.name
        if is_dicom(path):
            header = read_dataset(path, stop_before_pixels=True)
            name = str(header.get("PatientID") or header.get("StudyInstanceUID") or name)
        return name


@dataclass(frozen=True)
class HeldOutPatients:
    """Which patients are never trained on, in a file that only grows: a patient keeps the side once taken."""

    path: Path  # JSON; made when the first patient comes
    pseudonyms: Pseudonyms  # what patients are called in it

    def pseudonym(self, identity: str) -> str:
        """What a patient is called in every file that is written here."""
        return self.pseudonyms.name("patient", identity)

    def split(self, identities: Sequence[str]) -> dict[str, bool]:
        """Whether each patient is held out; new ones are placed in the order given."""
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}
        sides = {}
        for identity in identities:
            sides[identity] = known.setdefault(self.pseudonym(identity), len(known) % HELD_OUT_EVERY == 1)
        write_json(self.path, known)
        return sides


def sections_of(
    labeled: Sequence[LabeledImage], held_out: HeldOutPatients
) -> dict[str, list[tuple[str, LabeledImage]]]:
    """Labeled images with their patients' identities: ``validation`` are those of the held out."""
    patients = [item.identity() for item in labeled]
    sides = held_out.split(list(dict.fromkeys(patients)))
    sections: dict[str, list[tuple[str, LabeledImage]]] = {"training": [], "validation": []}
    for patient, item in zip(patients, labeled, strict=True):
        sections["validation" if sides[patient] else "training"].append((patient, item))
    return sections


def check_sections(sections: Mapping[str, Sequence[tuple[str, LabeledImage]]]) -> None:
    """Refuse to train unless some patients are trained on and some held out."""
    if not all(sections.values()):
        found = len({patient for items in sections.values() for patient, _ in items})
        need = "training needs final labels of at least two patients, of whom one is held out"
        raise RefusedRequestError(f"{need}, got {found}", status=409)


def write_label_datalist(
    labeled: Sequence[LabeledImage],
    structures: Sequence[str],
    held_out: HeldOutPatients,
    folder: Path,
    images: ImageCache,
) -> Path:
    """Write the annotators' labels, one channel per structure, and ``datalist.json``, whose path it gives."""
    found = sections_of(labeled, held_out)
    check_sections(found)
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in found}
    with atomic_folder(folder) as temporary:
        for section, items in found.items():
            for number, (patient, item) in enumerate(items):
                masks = _masks(item, structures, images)
                voxels = masks.view(np.uint8).transpose(3, 2, 0, 1)[:, :, None]  # (X, Y, 1, T, S)
                label = f"{section}-{number}.nii"
                nib.save(nib.Nifti1Image(voxels, np.eye(4)), temporary / label)
                entry = {"patient": held_out.pseudonym(patient), "image": str(item.image.resolve()), "label": label}
                sections[section].append({**entry, "frames": list(item.frames)})
        write_json(temporary / "datalist.json", {"structures": list(structures), **sections})
    return folder / "datalist.json"


def fine_tune(datalist: Path, served: Path, output_dir: Path, options: Mapping[str, Any]) -> Path:
    """Run ``configs/train.json`` with ``fine_tune.json`` on a data list, from the served weights; gives the new ones.

    Raises:
        RuntimeError: If the training fails; its log is in ``output_dir``.
    """
    card = read_model_card(served)
    num_frames = sum(len(item["frames"]) for item in json.loads(datalist.read_text())["training"])
    overrides: dict[str, str | int | float] = {
        "datalist": str(datalist),
        "segmenter_checkpoint": str(served),
        "output_dir": str(output_dir),
        "structures": str(list(card["structures"])),
        "student_backbone": card["student_backbone"],
        "embed_dim": card["embed_dim"],
        "image_size": card["image_size"],
        "epochs": options["max_epochs"],
        # The memory that propagation needs is trained on this student, and fits no other.
        "encoder_training": "frozen",
        "batch_size": min(options["batch_size"], num_frames),
        "decoder_learning_rate": options["learning_rate"],
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    stage = Stage("fine-tuning on the annotators' labels", CONFIGS, overrides)
    with (output_dir / "training.log").open("w") as log:
        status = subprocess.run(stage.command(), cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    if status:
        lines = (output_dir / "training.log").read_text(errors="replace").splitlines() or ["no message"]
        raise RuntimeError(f"the training ended with status {status}: {lines[-1][:200]}")
    return output_dir / "model.pt"


def mean_dice(checkpoint: Path, labeled: Sequence[LabeledImage], images: ImageCache) -> float:
    """Mean Dice of a model's automatic masks on labeled frames, over every structure that a frame's label holds."""
    segmenter = load_segmenter(checkpoint)
    inferer = ClipInferer(segmenter.image_size, batch_size=1, progress=False)
    scores = []
    for item in labeled:
        image = images.get(item.image)
        noted = {PIXEL_ASPECT: image.clip.pixel_aspect, FIELD_OF_VIEW: image.view}
        truth = torch.from_numpy(_masks(item, segmenter.structures, images))
        for frame, label in zip(item.frames, truth, strict=True):
            masks = inferer(MetaTensor(image.frame(frame)[None], meta=noted), segmenter)
            scores.append(dice(masks, label[None]))
    values = torch.cat(scores).flatten() if scores else torch.empty(0)
    values = values[~values.isnan()]
    if not len(values):
        raise RefusedRequestError("there is no held-out label to compare the models on", status=409)
    return float(values.mean())


def _masks(item: LabeledImage, structures: Sequence[str], images: ImageCache) -> np.ndarray:  # (T, S, H, W)
    grid = images.get(item.image).grid
    return read_annotation(item.label, grid, structures).masks(item.frames, len(structures))


def training_options(request: Mapping[str, Any]) -> dict[str, float]:
    """The options of a training that a request names, and the others' defaults."""
    unknown = sorted(set(request) - set(TRAINING_OPTIONS) - OF_MONAI_LABEL)
    if unknown:
        raise RefusedRequestError(f"unknown options {unknown}: expected some of {list(TRAINING_OPTIONS)}")
    return {name: _option(name, request.get(name, default), default) for name, default in TRAINING_OPTIONS.items()}


def _option(name: str, value: Any, default: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10_000
    if not is_number or type(default)(value) != value:
        kind = "whole number" if isinstance(default, int) else "number"
        raise RefusedRequestError(f"{name} must be a positive {kind} such as {default}, got {str(value)[:40]!r}")
    return type(default)(value)
