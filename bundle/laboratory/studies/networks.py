"""What is looked into: teachers, the student before and after it has learned from them, and held-out frames."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import Tensor

from bundle.atomic import write_json
from bundle.engines.stages import run_stages
from bundle.laboratory.studies.definition import FOLDER, Scale, read_study, teacher_configs
from bundle.laboratory.studies.plan import PlannedStage, Planner
from bundle.paths import ROOT
from bundle.phantom import make_phantom_dataset
from bundle.phantom.study import Domain, generate_study
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import STRIDES
from bundle.students.weights import load_student
from bundle.teachers.base import Teacher

FIRST_SEED = 34_000_000
"""Patients of no data set, no teacher's training and no benchmark; patient ``i`` has this plus ``i``."""

DOMAINS: tuple[Domain, ...] = ("standard", "hard")


@dataclass(frozen=True)
class HeldOutFrames:
    """Frames of several patients, in order."""

    frames: Tensor  # ``(N, 1, H, W)`` in [0, 1]
    masks: Tensor  # True masks ``bool (N, S, H, W)``, of synthetic frames in the order of ``STRUCTURES``
    patients: np.ndarray  # Seed, or number, of each frame's patient ``(N,)``


def held_out_frames(domain: Domain, num_patients: int, num_frames: int, size: int) -> HeldOutFrames:
    """Draw frames, spread over each patient's whole swallow.

    Raises:
        ValueError: If there is no patient.
    """
    if num_patients < 1:
        raise ValueError(f"expected one patient or more, got num_patients={num_patients}")
    studies = [generate_study(FIRST_SEED + patient, size, num_frames, domain=domain) for patient in range(num_patients)]
    return HeldOutFrames(
        frames=torch.from_numpy(np.concatenate([study.frames for study in studies])),
        masks=torch.from_numpy(np.concatenate([study.masks for study in studies])).bool(),
        patients=np.repeat([study.seed for study in studies], num_frames),
    )


STUDY, VARIANT, SEED = "teacher_sets", "all three", 0
"""The distillation: a variant of a study, so that what is looked into is what the evidence is about."""

BEFORE, AFTER = "before", "after"
LAYERS = (*(f"stride {stride}" for stride in STRIDES), "embedding")

FeatureMaps = dict[str, Tensor]
"""Maps ``(B, C, h, w)`` of the same frames, by teacher or layer."""


@dataclass(frozen=True)
class Networks:
    """Teachers, and students by ``BEFORE`` (random weights) and ``AFTER`` (distilled), all in evaluation mode."""

    teachers: Mapping[str, Teacher]
    students: Mapping[str, StudentEncoder]


@dataclass(frozen=True)
class AllFeatures:
    """Features of some frames."""

    teachers: FeatureMaps  # By teacher
    students: Mapping[str, FeatureMaps]  # By ``BEFORE`` and ``AFTER``, then by layer


def load_networks(scale: Scale, folder: Path) -> Networks:
    """The teachers and both students; the distillation is run if it is missing, and goes on if it was interrupted."""
    stage = _plan(scale, folder.resolve())
    weights = stage.folder / "student.pt"
    if not weights.is_file():
        write_json(stage.folder / "overlay.json", stage.keys)
        run_stages([stage.filling, stage.stage] if stage.fills else [stage.stage])
    parser = ConfigParser()
    parser.read_config([*(str(ROOT / "configs" / name) for name in stage.configs), str(stage.folder / "overlay.json")])
    parser["bundle_root"] = str(ROOT)
    torch.manual_seed(SEED)
    student: StudentEncoder = parser.get_parsed_content("student").eval()
    return Networks(
        teachers=parser.get_parsed_content("teachers"),
        students={BEFORE: student, AFTER: load_student(copy.deepcopy(student), weights)},
    )


def all_features(networks: Networks, frames: Tensor, batch_size: int = 16) -> Iterator[AllFeatures]:
    """Features of frames ``(N, 1, H, W)``, batch by batch."""
    for batch in frames.split(batch_size):
        with torch.inference_mode():
            yield AllFeatures(
                teachers={name: teacher(batch) for name, teacher in networks.teachers.items()},
                students={name: student_layers(student, batch) for name, student in networks.students.items()},
            )


def student_layers(student: StudentEncoder, frames: Tensor) -> FeatureMaps:
    """The trunk's stages at strides 4, 8, 16, 32, and the embedding (stride 16)."""
    stages = student.trunk(student.normalize(frames))
    return dict(zip(LAYERS, [*stages, student.fuse(*stages[2:])], strict=True))


def _plan(scale: Scale, folder: Path) -> PlannedStage:
    datalist = make_phantom_dataset(folder / "phantom", **scale.data)
    study = read_study(FOLDER / f"{STUDY}.json")
    variant = next(variant for variant in study.variants if variant.name == VARIANT)
    return Planner(folder / "stages", datalist, scale, teacher_configs()).run(STUDY, variant, SEED).stages[0]
