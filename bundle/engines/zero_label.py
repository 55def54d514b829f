"""Masks without any label: a distilled student in its teacher's own decoder, against the teacher, from true prompts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.data import Dataset
from monai.transforms import Compose
from torch import Tensor
from tqdm import tqdm

from bundle.atomic import write_csv, write_json
from bundle.data.datalist import load_datalist, read_datalist
from bundle.keys import CLIP, FRAME, IMAGE, LABEL, PATIENT, PIXEL_SPACING_MM
from bundle.metrics.report import EvaluationTable, FrameScore
from bundle.segmentation.prompts import box_around, connected_parts, inner_point
from bundle.segmentation.teacher_decoder import TeacherDecoder, TeacherSegmenter, load_lite_medsam_decoder
from bundle.students.as_teacher import load_stand_in
from bundle.teachers.base import Teacher
from bundle.teachers.lite_medsam import load_lite_medsam, packaged_lite_medsam
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed
from bundle.weights import find_card

PROMPTS = ("box", "click")
TEACHER, STUDENT, FILLED_BOX = SOURCES = ("teacher", "student", "filled box")
SMALLEST_PART = 0.05
"""Share of a structure's largest part below which another part of it is not prompted."""

RULE = (
    "Every connected part of a structure is prompted by itself, by its box or by one click into its middle, and the "
    f"masks are united; parts below {SMALLEST_PART} of the largest are not prompted, but count."
)

Features = Mapping[str, Tensor]


@dataclass(frozen=True)
class ZeroLabelScores:
    """Scores of every frame and structure, by prompt and source; a filled box answers boxes alone.

    ``milliseconds`` are of each film's encoder, by ``teacher`` and ``student`` (with its head), taken in turn.
    """

    tables: dict[tuple[str, str], EvaluationTable]
    milliseconds: dict[str, list[float]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Per prompt and source what an evaluation gives, and each encoder's median time in milliseconds."""
        results: dict[str, Any] = {}
        for (prompt, source), table in self.tables.items():
            results.setdefault(prompt, {})[source] = table.summary()
        speed = {source: round(median(values), 2) for source, values in self.milliseconds.items() if values}
        return {**results, "milliseconds_per_film": speed, "prompts": RULE}

    def write(self, folder: str | Path) -> None:
        """Write ``metrics.json``, and per film and structure ``metrics.csv``, each atomically; say the means."""
        summary = self.summary()
        write_json(Path(folder) / "metrics.json", summary)
        rows = (
            {"prompt": prompt, "source": source, **vars(score)}
            for (prompt, source), table in self.tables.items()
            for score in table.scores
        )
        write_csv(Path(folder) / "metrics.csv", ["prompt", "source", *FrameScore.__dataclass_fields__], rows)
        for prompt, source in self.tables:
            tqdm.write(f"{prompt:<6} {source:<11} mean Dice {summary[prompt][source]['mean_dice']:.4f}")
        tqdm.write(f"milliseconds per film: {summary['milliseconds_per_film']}")


@dataclass(frozen=True)
class LabeledFilms:
    """A section of a data list with labels; ``structures`` are all of the data list if None."""

    datalist: str | Path
    section: str
    structures: Sequence[str] | None = None
    finds_field_of_view: bool = True

    def names(self) -> Sequence[str]:
        """Names of the structures."""
        return self.structures or read_datalist(Path(self.datalist))["structures"]

    def load(self, size: int) -> Iterator[dict[str, Any]]:
        """Frames and masks on a square of ``size`` pixels."""
        items = load_datalist(self.datalist, self.section, self.names())
        if not items:
            raise ValueError(f"the section {self.section!r} of {self.datalist} has no frame")
        load = LoadFramed(self.names(), finds_field_of_view=self.finds_field_of_view)
        dataset = Dataset(items, Compose([load, Letterboxd(keys=[IMAGE, LABEL], size=size)]))
        yield from (dataset[index] for index in range(len(dataset)))


@torch.inference_mode()
def zero_label_scores(
    distill_folder: str | Path,
    films: LabeledFilms,
    prompts: Sequence[str] = PROMPTS,
    sources: Sequence[str] = SOURCES,
    teacher: str = "lite_medsam",
    teachers: Mapping[str, Teacher] | None = None,
    decoder: TeacherDecoder | None = None,
) -> ZeroLabelScores:
    """Prompt the teacher's decoder from the true masks, on the teacher's own features and on the student's of them.

    Args:
        distill_folder: Phase 1's ``output_dir``; its student gives the size of the frames, on which masks are compared.
        films: What is scored.
        prompts: Of ``box`` and ``click``.
        sources: Of ``teacher``, ``student`` and ``filled box``.
        teacher: Name in phase 1 of the teacher whose decoder it is.
        teachers: The teacher, and for SAM 2 those of its high-resolution features, by name, on their *own* grids;
            LiteMedSAM from its package if None.
        decoder: The teacher's decoder; LiteMedSAM's from its package if None.

    Raises:
        FileNotFoundError: If phase 1's files or the data list are missing.
        ValueError: If phase 1 had no such teacher, a prompt or source is unknown, or the section has no frame.
    """
    _check(prompts, PROMPTS, "prompts")
    _check(sources, SOURCES, "sources")
    segmenters, size = load_segmenters(distill_folder, sources, teacher, teachers, decoder)
    answers = [
        (prompt, source) for prompt in prompts for source in sources if (prompt, source) != ("click", FILLED_BOX)
    ]
    scores = ZeroLabelScores(
        {answer: EvaluationTable(films.names()) for answer in answers}, {name: [] for name in segmenters}
    )
    for number, film in enumerate(tqdm(films.load(size), desc="films")):
        features = {}
        for name, segmenter in segmenters.items():
            start = time.perf_counter()
            features[name] = segmenter.encode(film[IMAGE][None])
            if number:  # the first film also waits for memory and caches
                scores.milliseconds[name].append(1000 * (time.perf_counter() - start))
        label = film[LABEL].bool()
        parts = [(channel, part) for channel, mask in enumerate(label) for part in connected_parts(mask, SMALLEST_PART)]
        for (prompt, source), table in scores.tables.items():
            pred = torch.zeros_like(label)
            masks = _masks(prompt, [part for _, part in parts], segmenters.get(source), features.get(source))
            for (channel, _), mask in zip(parts, masks, strict=True):
                pred[channel] |= mask
            spacing = film[PIXEL_SPACING_MM][None]
            table.update(pred[None], label[None], [film[PATIENT]], [film[CLIP]], [film[FRAME]], spacing)
    return scores


def load_segmenters(
    distill_folder: str | Path,
    sources: Sequence[str] = SOURCES,
    teacher: str = "lite_medsam",
    teachers: Mapping[str, Teacher] | None = None,
    decoder: TeacherDecoder | None = None,
) -> tuple[dict[str, TeacherSegmenter], int]:
    """The sources that answer by a decoder, and the side of the student's frames; as for :func:`zero_label_scores`."""
    decoder = decoder or load_lite_medsam_decoder(packaged_lite_medsam())
    teachers = teachers or {teacher: load_lite_medsam(packaged_lite_medsam())}
    stand_in = load_stand_in(distill_folder, list(teachers))
    encoders: dict[str, Callable[[Tensor], Features]] = {
        TEACHER: partial(_teachers_features, teachers),
        STUDENT: lambda frames: stand_in(frames)["features"],
    }
    segmenters = {
        source: TeacherSegmenter(encode, decoder, teacher) for source, encode in encoders.items() if source in sources
    }
    return segmenters, find_card(Path(distill_folder) / "student.pt")["image_size"]


def filled(box: Tensor, shape: Sequence[int]) -> Tensor:
    """A box ``(4,)``, left, top, right and bottom pixel, as a mask of this shape ``(H, W)``, bool."""
    left, top, right, bottom = box.round().int().tolist()
    mask = torch.zeros(*shape, dtype=torch.bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def _masks(
    prompt: str, parts: Sequence[Tensor], segmenter: TeacherSegmenter | None, features: Features | None
) -> Tensor:  # -> bool (N, H, W)
    """The answer to each part's prompt; without a segmenter the box itself."""
    if not parts:
        return torch.zeros(0)
    if segmenter is None or features is None:
        return torch.stack([filled(box_around(part), part.shape) for part in parts])
    if prompt == "box":
        asked = {"boxes": torch.stack([box_around(part) for part in parts])}
    else:
        asked = {"points": torch.stack([inner_point(part) for part in parts])}
    return segmenter.answer(features, parts[0].shape[-1], **asked)[:, 0] > 0


def _teachers_features(teachers: Mapping[str, Teacher], frames: Tensor) -> Features:
    return {name: teacher(frames) for name, teacher in teachers.items()}


def _check(given: Sequence[str], known: Sequence[str], what: str) -> None:
    if not given or not set(given) <= set(known):
        raise ValueError(f"{what} must be of {list(known)}, at least one, got {list(given)}")
