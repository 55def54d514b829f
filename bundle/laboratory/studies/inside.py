"""A look inside: feature maps, feature space and CKA of teachers and student, and where the shipped model fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from PIL import Image

from bundle.atomic import atomic_path, write_text
from bundle.export.model_card import load_segmenter
from bundle.laboratory.studies.definition import Scale, read_scale
from bundle.laboratory.studies.failure_report import draw_failures, failures_section, worst_patients
from bundle.laboratory.studies.failures import FAILED, LARGE, MISSED, SMALL, segment_patients
from bundle.laboratory.studies.feature_space import (
    StructurePoints,
    draw_embeddings,
    draw_feature_maps,
    nearest_table,
    structure_points,
)
from bundle.laboratory.studies.layer_similarity import (
    LayerSimilarity,
    differences_only,
    draw_similarity,
    layer_similarity,
    similarity_in_words,
    similarity_table,
)
from bundle.laboratory.studies.networks import (
    AFTER,
    BEFORE,
    DOMAINS,
    FIRST_SEED,
    SEED,
    STUDY,
    VARIANT,
    AllFeatures,
    HeldOutFrames,
    Networks,
    all_features,
    held_out_frames,
    load_networks,
)
from bundle.phantom.dataset import GENERATOR_VERSION
from bundle.weights import file_sha256

TITLES = {"medsam2": "MedSAM2", "rad_dino": "RAD-DINO", "medclip": "MedCLIP"}
MAP_LAYERS = ("stride 4", "stride 8", "embedding")
"""Layers shown as maps; the others are too coarse to see anything in them at this image size."""


@dataclass(frozen=True)
class Amounts:
    """How much is looked at, in each domain."""

    map_patients: int = 2  # Frames shown as feature maps, of a patient each
    feature_patients: int = 24  # For feature space and CKA
    failure_patients: int = 40  # For the failures
    num_frames: int = 4  # Of each patient
    worst: int = 3  # Frames in the gallery of failures, of a patient each


def look_inside(
    scale: str, folder: str | Path, output_dir: str | Path, model: str | Path, amounts: Amounts | None = None
) -> Path:
    """Distill the student if it is not there, measure, draw, and write the page.

    Raises:
        FileNotFoundError: If the model or its card is missing.
        ValueError: If the scale is unknown.
    """
    amounts, target, model = amounts or Amounts(), Path(output_dir), Path(model)
    chosen, segmenter = read_scale(scale), load_segmenter(model)
    networks = load_networks(chosen, Path(folder))
    parts = [
        _introduction(chosen, amounts),
        _features_part(networks, chosen, amounts, target),
        f"## Where the shipped model fails\n\n{_failures_introduction(model, segmenter.image_size, amounts)}",
    ]
    for domain in DOMAINS:
        patients = segment_patients(segmenter, domain, amounts.failure_patients, amounts.num_frames)
        shown = worst_patients(patients, amounts.worst)
        name = f"inside_failures_{domain}.png"
        write_figure(draw_failures(shown, segmenter.structures), target / name, dpi=80)
        alternative = f"The worst frames of the {domain} domain with true and predicted outlines"
        section = failures_section(patients, shown, segmenter.structures)
        parts.append(f"### {domain.capitalize()} domain\n\n![{alternative}]({name})\n\n{section}")
    return write_text(target / "inside.md", "\n\n".join(parts) + "\n")


def _features_part(networks: Networks, scale: Scale, amounts: Amounts, target: Path) -> str:
    size = int(scale.phase_1["image_size"])
    held: dict[str, HeldOutFrames] = {
        domain: held_out_frames(domain, amounts.feature_patients, amounts.num_frames, size) for domain in DOMAINS
    }
    found = {domain: list(all_features(networks, frames.frames)) for domain, frames in held.items()}
    _draw_maps(networks, held, amounts, target / "inside_feature_maps.png")
    points = {domain: network_points(found[domain], frames) for domain, frames in held.items()}
    for domain, of_networks in points.items():
        write_figure(draw_embeddings(of_networks), target / f"inside_feature_space_{domain}.png", dpi=110)
    grid_size = min(teacher.grid_size for teacher in networks.teachers.values())
    alike = {domain: layer_similarity(batches, grid_size) for domain, batches in found.items()}
    apart = {domain: layer_similarity(differences_only(batches), grid_size) for domain, batches in found.items()}
    titles = {name: TITLES.get(name, name) for name in networks.teachers}
    write_figure(draw_similarity(alike, titles), target / "inside_cka.svg")
    return FEATURES.format(
        nearest=nearest_table(points),
        cka=similarity_part(alike, titles),
        differences=similarity_part(apart, titles),
        frames=amounts.feature_patients * amounts.num_frames,
        grid=grid_size,
    )


def similarity_part(found: Mapping[str, LayerSimilarity], titles: Mapping[str, str]) -> str:
    """Markdown: what the numbers of each domain say, and the table."""
    lines = [f"- {domain.capitalize()} domain, {similarity_in_words(one, titles)}" for domain, one in found.items()]
    return "\n".join([*lines, "", similarity_table(found, titles)])


def _draw_maps(networks: Networks, held: Mapping[str, HeldOutFrames], amounts: Amounts, path: Path) -> None:
    """A frame of each of some patients, from the middle of the swallow."""
    step, middle = amounts.num_frames, amounts.num_frames // 2
    places = [middle + step * patient for patient in range(min(amounts.map_patients, amounts.feature_patients))]
    frames = torch.cat([held[domain].frames[places] for domain in DOMAINS])
    rows = [f"{domain} {number + 1}" for domain in DOMAINS for number in range(len(places))]
    (features,) = all_features(networks, frames, batch_size=len(frames))
    groups = {"teachers": {TITLES.get(name, name): value for name, value in features.teachers.items()}}
    for name, layers in features.students.items():
        groups[f"student {name} distillation"] = {layer: layers[layer] for layer in MAP_LAYERS}
    write_figure(draw_feature_maps(frames, groups, rows), path, dpi=110)


def network_points(batches: list[AllFeatures], held: HeldOutFrames) -> dict[str, StructurePoints]:
    """Of every teacher, and of both students' embeddings."""
    columns = {TITLES.get(name, name): [batch.teachers[name] for batch in batches] for name in batches[0].teachers}
    columns |= {f"student {name}": [batch.students[name]["embedding"] for batch in batches] for name in (BEFORE, AFTER)}
    return {title: structure_points(maps, held.masks, held.patients) for title, maps in columns.items()}


def write_figure(figure: Figure, path: Path, dpi: int = 100) -> None:
    """Write SVG or PNG, by the path's suffix; the same figure is the same bytes."""
    is_vector = path.suffix == ".svg"
    metadata = {"Date": None, "Creator": None} if is_vector else {"Software": None}
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "inside"}), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata=metadata, facecolor=figure.get_facecolor())
        if not is_vector:
            Image.open(temporary).convert("RGB").save(temporary, optimize=True)  # no transparency: less space


def _introduction(scale: Scale, amounts: Amounts) -> str:
    described = "; ".join(f"{key} {value}" for key, value in scale.described().items() if "phase_2" not in key)
    last = max(amounts.feature_patients, amounts.failure_patients) - 1
    return INTRODUCTION.format(
        command=f"python scripts/laboratory/look_inside.py --scale {scale.name}",
        version=GENERATOR_VERSION,
        first=FIRST_SEED,
        last=FIRST_SEED + last,
        variant=VARIANT,
        study=STUDY,
        seed=SEED,
        scale=described,
    )


def _failures_introduction(model: Path, image_size: int, amounts: Amounts) -> str:
    return FAILURES.format(
        name=model.name,
        sha=file_sha256(model)[:12],
        size=image_size,
        patients=amounts.failure_patients,
        frames=amounts.num_frames,
        failed=FAILED,
        missed=MISSED,
        small=SMALL,
        large=LARGE,
    )


INTRODUCTION = """# A look inside

What teachers and student make of a frame, and where the model that ships fails. Everything here is **synthetic**
(phantom, generator version {version}); of real patients it says nothing. Numbers and sentences are written by
`{command}`.

- **Patients**: seeds {first} to {last}, of no training. *Standard* are patients like those of the training, *hard* have
  [other machines, doses and findings](../concepts/phantom.md#the-hard-domain).
- **Student before**: random weights, as they are initialized. **Student after**: the distillation of the variant
  "{variant}" of the study `{study}`, seed {seed}. It has learned from the teachers alone and seen no label.
- **Scale of the distillation**: {scale}."""

FEATURES = """## Feature maps

![Frames, and feature maps of the teachers and of the student before and after distillation](inside_feature_maps.png)

Each column in the colors of its own first three principal components over the frames shown: equal colors in one
column are alike features, and colors of different columns have nothing to do with each other. Below each name: the
share of the variance that the three components hold.

## Feature space

![t-SNE of the structures' features in the standard domain](inside_feature_space_standard.png)

![t-SNE of the structures' features in the hard domain](inside_feature_space_hard.png)

Each point is one structure in one frame: the features, averaged under its true mask ({frames} frames of each domain).
t-SNE keeps neighbors together; distances between groups, and their sizes, mean nothing. So the picture has a number:
how often the nearest point of *another patient*, in the features themselves, is of the same structure. Structures lie
over each other and in much the same places of the frame, which helps every network, one with random weights too.

{nearest}

## CKA

![Linear CKA of the student's layers and the teachers, before and after distillation](inside_cka.svg)

Linear CKA (Kornblith et al. 2019) over all positions of {frames} frames of each domain, on a grid of {grid} x {grid}.
1 is alike up to rotation and scale. Layers: student before → after. Below them: the teachers among themselves.

{cka}

CKA also counts what all frames have in common at a position: the same anatomy in the same place, and the frame's edge,
which a network with random weights has, too. The same without it, each position's mean over the frames subtracted:

{differences}"""

FAILURES = """The model is `{name}` (SHA-256 {sha}…), at {size} x {size}, {patients} patients of each domain, {frames}
frames of each, spread over the swallow. Shown are the frames with the lowest mean Dice over the structures that they
have, one of a patient. A structure failed if its Dice is below {failed}. Then it was *missed* (predicted area at most
{missed} of the true one), *misplaced* (centroids further apart than the radius of a disc of the true area), *too small*
(at most {small} of the true area), *too large* (at least {large} times), or has a *wrong outline*. *Invented* are
structures that are not in the frame; Dice does not count them. In the pictures, outlines of what failed are bold.

Values of patient, swallow and machine are those that the phantom [drew](../concepts/phantom.md). A value is extreme in
the outer tenth of its domain's patients here, at the end where Dice is lower. That is no cause: of so many values, some
are extreme by chance."""
