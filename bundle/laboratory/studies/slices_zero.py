"""Slices of a 3-D volume without any label of it: students of other images in their teacher's own decoder, by boxes."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bundle.engines.zero_label import FILLED_BOX, SOURCES, STUDENT, filled, load_segmenters
from bundle.laboratory.benchmarks.record import describe_machine
from bundle.laboratory.public_sets.ct_lesions import make_ct_lesion_datalist
from bundle.laboratory.studies.slices import BOX, FIELD_MM, VolumeScore, score_volumes
from bundle.laboratory.studies.volume_masks import MARGIN, BoxAnswer, VolumeBox, asked, carried
from bundle.segmentation.prompts import box_around
from bundle.segmentation.teacher_decoder import TeacherSegmenter
from bundle.text import read_json
from bundle.transforms.letterbox import letterbox, unletterbox
from bundle.weights import file_sha256, find_card

OWN_BOX, CARRIED = "asked by each slice's own box", "carried from the middle slice"
ALL_TEST = (0.0, 0.0, 1.0)


@torch.inference_mode()
def run_without_labels(folder: str | Path, work_dir: str | Path, distillations: Sequence[str | Path]) -> dict[str, Any]:
    """Score LiteMedSAM, students distilled from it, and the filled box, on all sub-volumes.

    Returns:
        ``scores``, each :class:`bundle.laboratory.studies.slices.VolumeScore` as a dictionary, and how they were made.

    Raises:
        FileNotFoundError: If there are no sub-volumes, or phase 1's files are missing.
        ValueError: If a student has no head for LiteMedSAM, or a sub-volume is wrong in any way.
    """
    datalist = make_ct_lesion_datalist(folder, Path(work_dir) / "without_labels", ALL_TEST, field_mm=FIELD_MM)
    scores: list[VolumeScore] = []
    for number, distillation in enumerate(distillations):
        sources = (STUDENT,) if number else SOURCES  # the others are the same for all
        masks_of = partial(masks_without_labels, sources, *load_segmenters(distillation, sources))
        scores += score_volumes(masks_of, datalist, number)
    return {
        "students": [_describe(Path(distillation)) for distillation in distillations],
        "margin": MARGIN,
        "machine": describe_machine(),
        "finished": date.today().isoformat(),
        "scores": [vars(score) for score in scores],
    }


def masks_without_labels(
    sources: Sequence[str], segmenters: Mapping[str, TeacherSegmenter], size: int, slices: Tensor, label: Tensor
) -> dict[tuple[str, str], Tensor]:
    """Masks ``bool (Z, 1, H, W)`` by source and way: the 3-D box, each slice's own, carried; pixels are square."""
    own = {index: box_around(mask[0]) for index, mask in enumerate(label) if mask.any()}
    found = {}
    for source in sources:
        answer, margin = (
            (lambda _, box: filled(box, label.shape[2:]), 0.0)
            if source == FILLED_BOX
            else (_answer(segmenters[source], size, slices), MARGIN)
        )
        found[source, BOX] = asked(answer, VolumeBox.around(label).boxes(), label.shape)
        found[source, OWN_BOX] = asked(answer, own, label.shape)
        found[source, CARRIED] = carried(answer, label, margin)
    return found


def _answer(segmenter: TeacherSegmenter, size: int, slices: Tensor) -> BoxAnswer:
    """Answers on the slices' own pixels; every slice is encoded once."""
    frames, geometry = letterbox(slices, size)
    features = [segmenter.encode(frame[None]) for frame in frames]
    scale = torch.tensor(geometry.scale[::-1] * 2)

    def answer(index: int, box: Tensor) -> Tensor:
        logits = segmenter.answer(features[index], size, boxes=((box + 0.5) * scale - 0.5)[None])
        return unletterbox(logits, geometry)[0, 0] > 0

    return answer


def _describe(folder: Path) -> dict[str, Any]:
    card = find_card(folder / "student.pt")
    return {
        "student_backbone": card["student_backbone"],
        "image_size": card["image_size"],
        "teachers": list(read_json(folder / "heads.json")["grid_sizes"]),
        "sha256": file_sha256(folder / "student.pt"),
    }
