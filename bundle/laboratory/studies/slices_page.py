"""The page of the slices of a 3-D volume: means per section and per sub-volume, and what was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from bundle.atomic import write_json, write_text
from bundle.engines.zero_label import FILLED_BOX, SOURCES, TEACHER
from bundle.laboratory.studies.slices import (
    AUTOMATIC,
    BOX,
    DISTILLED,
    ELLIPSOID,
    HELD_OUT,
    RANDOM,
    TRAINED,
    VARIANTS,
    run_slices,
)
from bundle.laboratory.studies.slices_zero import CARRIED, OWN_BOX, run_without_labels
from bundle.laboratory.studies.statistics import Comparison, compare, correct, count, explain
from bundle.text import read_json

MEASURES = {"volume_dice": "3-D Dice", "slice_dice": "mean slice Dice", "flicker": "inter-slice flicker"}
SECTIONS = {HELD_OUT: "held out", TRAINED: "trained on"}

COMPARISONS = [
    *((DISTILLED, RANDOM, measure) for measure in MEASURES),
    *((student, ELLIPSOID, "volume_dice") for student in VARIANTS),
]
"""Variant, what it is compared with, and the measure."""

PAGE = """# Slices of a 3-D volume

**Question.** Do students that segment a volume slice by slice give masks that fit together, and does distillation on
the slices help? The paper leaves it open whether its method carries over to other modalities and to volumes.

**Data.** Real CT, {volumes} of {patients}: **far too few for a claim** about CT, lesions or the method; a check of the
way from a volume to its scores. Source: {source}. License: {license}. No image is part of this repository.

{means}

Every held-out sub-volume, {box}:

{volumes_table}

Mean over patients, ± standard deviation between seeds. *Mean slice Dice* is over the slices that show the lesion.
*3-D Dice* counts all voxels of the stack together, so that a mask in a slice without the lesion counts against it.
*Inter-slice flicker* is the change from a slice to the next (1 - Dice of the two) less that of the true mask: above 0
the masks change more than the lesion does, below 0 less, as where nothing is found. It means little where Dice is near
0. *Trained on* are the sub-volumes that a model has learned from: how well it fits them, and nothing else.
*{box_title}*: the true lesion's 3-D box is given, and asks for a mask in every slice that it has, each slice on its
own; outside the box's slices there is no mask. The ellipsoid that fills that box needs no student and no image.

**Findings.**

{findings}

The t-interval counts seeds and patients as random; p-values are corrected for all of these comparisons.

**Scale.** Every slice is cut to the same square of {field_mm:.0f} mm around the lesion, whose place is so given as by a
reader's mark. Every patient is held out once, in {folds} folds. Both students are trained by `configs/train.json` on
the slices of the other patients; "{distilled}" starts from the student of `configs/distill.json` on the same slices,
without their masks, with the teachers in `models/teachers`, which were trained on synthetic X-ray images only. So it
has had more training than "{random}". One structure; {image_size} x {image_size} pixels; batches of {batch_size};
{phase_1} epochs of phase 1, {phase_2} of phase 2; seeds {seeds}. Masks are compared on the CT's own pixels. All
trainings together took {minutes:.0f} minutes of processor time: {machine}.
`{command}`, finished {finished}. Every score is in [slices.json](slices.json).
"""

WITHOUT_LABELS = """
## Without any label of a CT

{table}

**No student here has seen a CT, or a mask of one: they were distilled on chest radiographs** (teachers may have).
{students}. Each stands in for the encoder of its teacher, LiteMedSAM, whose own decoder answers boxes; "{teacher}" is
LiteMedSAM itself. The sub-volumes and their squares are those above. *{box}*: as above. *{own}*: the lesion's
box in that slice. *{carried}*: only the box in the middle slice of the lesion is true; in both directions every next
slice is asked by the box around the mask found in the slice before, with {margin:.0%} of its width and height added at
each side, until a slice in which nothing is found. "{filled}" looks at no image; carried, it is the middle slice's box
in every slice. Mean over patients, ± standard deviation between students where there are several. Few sub-volumes: a
check, no claim. {machine}.
`{command}`, finished {finished}. Every score is in [{file}]({file}).
"""

LABELLESS_FILE = "slices_without_labels.json"

VolumeScores = Sequence[Mapping[str, Any]]
"""Of :class:`bundle.laboratory.studies.slices.VolumeScore`, as dictionaries."""


def study_slices(
    folder: str | Path,
    work_dir: str | Path,
    output_dir: str | Path,
    seeds: Sequence[int],
    without_labels: Sequence[str | Path] = (),
) -> Path:
    """Run what is missing, and write ``slices.json`` and ``slices.md``, whose path is returned; or its last part alone.

    With ``without_labels``, distillations as for :func:`run_without_labels`, only these are scored, and ``slices.json``
    must be there. What is trained is kept in ``work_dir``.

    Raises:
        FileNotFoundError: If there are no sub-volumes, or phase 1's files or ``slices.json`` are missing.
        ValueError: If there are fewer patients than folds, or a sub-volume or a distillation is wrong in any way.
    """
    every, labelless = Path(output_dir) / "slices.json", Path(output_dir) / LABELLESS_FILE
    if without_labels:
        report = read_json(every)
        write_json(labelless, run_without_labels(folder, work_dir, without_labels))
    else:
        report = run_slices(folder, work_dir, seeds)
        write_json(every, report)
    page = slices_page(report) + (labelless_part(read_json(labelless)) if labelless.is_file() else "")
    return write_text(Path(output_dir) / "slices.md", page)


def labelless_part(report: Mapping[str, Any]) -> str:
    """The page's last part, from what :func:`bundle.laboratory.studies.slices_zero.run_without_labels` gives."""
    rows = [
        [way, source, *(_cell(_select(report["scores"], variant=source, masks=way), measure) for measure in MEASURES)]
        for way in (BOX, OWN_BOX, CARRIED)
        for source in SOURCES
    ]
    told = [
        f"{student['student_backbone']} at {student['image_size']}², of {', '.join(student['teachers'])}"
        for student in report["students"]
    ]
    return WITHOUT_LABELS.format(
        table=_table(["masks", "source", *MEASURES.values()], rows),
        students=f"{count(len(told), 'student')}: {'; '.join(told)}",
        teacher=TEACHER,
        filled=FILLED_BOX,
        box=BOX.capitalize(),
        own=OWN_BOX.capitalize(),
        carried=CARRIED.capitalize(),
        **{key: report[key] for key in ("margin", "machine", "finished")},
        command="python scripts/laboratory/study_slices.py path/to/ct_lesions --without_labels path/to/distillation"
        + (" ..." if len(told) > 1 else ""),
        file=LABELLESS_FILE,
    )


def slices_page(report: Mapping[str, Any]) -> str:
    """The page without its last part, from what :func:`bundle.laboratory.studies.slices.run_slices` gives."""
    scores, scale = report["scores"], report["scale"]
    seeds = " ".join(map(str, report["seeds"]))
    return PAGE.format(
        volumes=count(len({score["volume"] for score in scores}), "sub-volume"),
        patients=count(len({score["patient"] for score in scores}), "patient"),
        **report["data"],
        means=_means_table(scores),
        volumes_table=_volumes_table(scores),
        box=BOX,
        box_title=BOX.capitalize(),
        findings="\n".join(f"- {line}" for line in findings(scores)),
        distilled=DISTILLED,
        random=RANDOM,
        phase_1=scale["epochs"]["distill.json"],
        phase_2=scale["epochs"]["train.json"],
        **{key: scale[key] for key in ("field_mm", "folds", "image_size", "batch_size")},
        seeds=seeds,
        minutes=report["cpu_seconds"] / 60,
        machine=report["machine"],
        command=f"python scripts/laboratory/study_slices.py path/to/ct_lesions --seeds {seeds}",
        finished=report["finished"],
    )


def findings(scores: VolumeScores) -> list[str]:
    """Sentences about the held-out patients; the p-values are corrected for the number of comparisons."""
    found = correct({names: compare(paired_table(scores, *names)) for names in COMPARISONS})
    return [_automatic(scores), *(_sentence(scores, *names, comparison) for names, comparison in found.items())]


def paired_table(scores: VolumeScores, variant: str, reference: str, measure: str) -> np.ndarray:
    """Variant less reference, asked by a box, on held-out patients ``(seeds, patients)``; mean over sub-volumes."""
    seeds, patients = (sorted({score[key] for score in scores}) for key in ("seed", "patient"))

    def mean(name: str, seed: int, patient: str) -> float:
        chosen = _select(scores, variant=name, masks=BOX, section=HELD_OUT, seed=seed, patient=patient)
        return fmean(float(score[measure]) for score in chosen)

    return np.array([[mean(variant, s, p) - mean(reference, s, p) for p in patients] for s in seeds])


def _automatic(scores: VolumeScores) -> str:
    def dice(variant: str, section: str) -> str:
        return _cell(_select(scores, variant=variant, masks=AUTOMATIC, section=section), "volume_dice")

    told = [
        f"{dice(variant, HELD_OUT)} on held-out patients and {dice(variant, TRAINED)} on those trained on ({variant})"
        for variant in VARIANTS
    ]
    return f"Automatic masks have a 3-D Dice of {', '.join(told)}."


def _sentence(scores: VolumeScores, variant: str, reference: str, measure: str, comparison: Comparison) -> str:
    ours, theirs = (
        _cell(_select(scores, variant=name, masks=BOX, section=HELD_OUT), measure) for name in (variant, reference)
    )
    return (
        f"{variant.capitalize()}, {BOX}, on held-out patients: {MEASURES[measure]} {ours}, against {theirs} of "
        f'"{reference}": {explain(comparison, reference)}, over '
        f"{' and '.join(count(size, axis) for axis, size in comparison.sizes.items())}."
    )


def _means_table(scores: VolumeScores) -> str:
    rows = []
    for way, section in [(way, section) for section in SECTIONS for way in (BOX, AUTOMATIC)]:
        for variant in (*VARIANTS, ELLIPSOID):
            if chosen := _select(scores, variant=variant, masks=way, section=section):
                cells = [_cell(chosen, measure) for measure in MEASURES]
                rows.append([SECTIONS[section], way, variant, *cells])
    return _table(["patients", "masks", "student", *MEASURES.values()], rows)


def _volumes_table(scores: VolumeScores) -> str:
    rows = []
    for volume in sorted({score["volume"] for score in scores}):
        for variant in (*VARIANTS, ELLIPSOID):
            chosen = _select(scores, variant=variant, masks=BOX, section=HELD_OUT, volume=volume)
            rows.append([volume, variant, *(_cell(chosen, measure) for measure in MEASURES)])
    return _table(["sub-volume", "student", *MEASURES.values()], rows)


def _cell(scores: VolumeScores, measure: str) -> str:
    """Mean over patients and their sub-volumes, then ± between seeds."""
    means = []
    for seed in sorted({score["seed"] for score in scores}):
        of_seed = _select(scores, seed=seed)
        patients = sorted({score["patient"] for score in of_seed})
        means.append(fmean(fmean(float(s[measure]) for s in _select(of_seed, patient=one)) for one in patients))
    return f"{fmean(means):.3f}" if len(means) < 2 else f"{fmean(means):.3f} ± {stdev(means):.3f}"


def _select(scores: VolumeScores, **of: str | int) -> VolumeScores:
    return [score for score in scores if all(score[key] == value for key, value in of.items())]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---:" if column in MEASURES.values() else "---" for column in columns]
    lines = [columns, rule, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
