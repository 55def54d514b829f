"""The page of the slices of a 3-D volume: means per section and per sub-volume, and what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from bundle.atomic import write_json, write_text
from bundle.studies.slices import DISTILLED, HELD_OUT, RANDOM, TRAINED, VARIANTS, run_slices
from bundle.studies.statistics import Comparison, compare, count, explain, holm

MEASURES = {"volume_dice": "3-D Dice", "slice_dice": "mean slice Dice", "flicker": "inter-slice flicker"}
SECTIONS = {HELD_OUT: "held out", TRAINED: "trained on"}

PAGE = """# Slices of a 3-D volume

**Question.** Do students that segment a volume slice by slice give masks that fit together, and does distillation on
the slices help? The paper leaves it open whether its method carries over to other modalities and to volumes.

**Data.** Real CT, {volumes} of {patients}: a check of the way from a volume to its scores, **far too few for a claim**
about CT, lesions or the method. Source: {source}. License: {license}. No image is part of this repository.

{means}

{volumes_table}

Mean over patients, ± standard deviation between seeds. *Mean slice Dice* is over the slices that show the lesion.
*3-D Dice* counts all voxels of the stack together, so that a mask in a slice without the lesion counts against it.
*Inter-slice flicker* is the change from a slice to the next (1 - Dice of the two) less that of the true mask: above 0
the masks change more than the lesion does, below 0 less, as where nothing is predicted. It means little where Dice is
near 0. *Trained on* are the sub-volumes that a model has learned from: how well it fits them, and nothing else.

**Findings.**

{findings}

The interval resamples seeds and patients; with so few of both it is too narrow.

**Scale.** Every patient is held out once, in {folds} folds. Both students are trained by `configs/train.json` on the
slices of the other patients; "{distilled}" starts from the student of `configs/distill.json` on the same slices,
without their masks, with the teachers in `models/teachers`, which were trained on synthetic X-ray images only. So it
has had more training than "{random}". One structure; {image_size} x {image_size} pixels; batches of {batch_size};
{phase_1} epochs of phase 1, {phase_2} of phase 2; seeds {seeds}. Masks are compared on the CT's own pixels. All
trainings together took {minutes:.0f} minutes of processor time: {machine}.
`{command}`, finished {finished}. Every score is in [slices.json](slices.json).
"""

Scores = Sequence[Mapping[str, Any]]
"""Of :class:`bundle.studies.slices.VolumeScore`, as dictionaries."""


def study_slices(folder: str | Path, work_dir: str | Path, output_dir: str | Path, seeds: Sequence[int]) -> Path:
    """Run what is missing, and write ``slices.json`` and ``slices.md``.

    Args:
        folder: CT sub-volumes, as for :func:`bundle.data.ct_lesions.make_ct_lesion_datalist`.
        work_dir: For volumes, data lists and trainings.
        output_dir: For the results.
        seeds: Of the trainings.

    Returns:
        Path of ``slices.md``.

    Raises:
        FileNotFoundError: If there are no sub-volumes.
        ValueError: If there are fewer patients than folds, or a sub-volume is wrong in any way.
    """
    report = run_slices(folder, work_dir, seeds)
    write_json(Path(output_dir) / "slices.json", report)
    return write_text(Path(output_dir) / "slices.md", slices_page(report))


def slices_page(report: Mapping[str, Any]) -> str:
    """The page, from what :func:`bundle.studies.slices.run_slices` gives."""
    scores, scale = report["scores"], report["scale"]
    seeds = " ".join(map(str, report["seeds"]))
    return PAGE.format(
        volumes=count(len({score["volume"] for score in scores}), "sub-volume"),
        patients=count(len({score["patient"] for score in scores}), "patient"),
        **report["data"],
        means=_means_table(scores),
        volumes_table=_volumes_table(scores),
        findings="\n".join(f"- {line}" for line in findings(scores)),
        distilled=DISTILLED,
        random=RANDOM,
        phase_1=scale["epochs"]["distill.json"],
        phase_2=scale["epochs"]["train.json"],
        **{key: scale[key] for key in ("folds", "image_size", "batch_size")},
        seeds=seeds,
        minutes=report["cpu_seconds"] / 60,
        machine=report["machine"],
        command=f"python scripts/study_slices.py path/to/ct_lesions --seeds {seeds}",
        finished=report["finished"],
    )


def findings(scores: Scores) -> list[str]:
    """How well the students fit, and a sentence per measure on the held-out patients.

    The p-values are corrected for the number of measures.
    """
    found = {key: compare(paired_table(scores, key)) for key in MEASURES}
    p_values = {key: one.p_value for key, one in found.items() if one.p_value is not None}
    for key, corrected in holm(p_values).items():
        found[key] = replace(found[key], corrected_p_value=corrected, num_comparisons=len(p_values))
    return [*_fit(scores), *(_sentence(scores, key, one) for key, one in found.items())]


def paired_table(scores: Scores, measure: str) -> np.ndarray:
    """Distilled less random weights on held-out patients ``(seeds, patients)``, mean over a patient's sub-volumes."""
    seeds, patients = (sorted({score[key] for score in scores}) for key in ("seed", "patient"))

    def mean(variant: str, seed: int, patient: str) -> float:
        return fmean(_values(scores, measure, variant=variant, section=HELD_OUT, seed=seed, patient=patient))

    return np.array([[mean(DISTILLED, s, p) - mean(RANDOM, s, p) for p in patients] for s in seeds])


def _fit(scores: Scores) -> list[str]:
    def dice(variant: str, section: str) -> str:
        return _cell(scores, "volume_dice", variant=variant, section=section)

    return [
        f"{variant.capitalize()}: 3-D Dice is {dice(variant, TRAINED)} on the patients trained on and "
        f"{dice(variant, HELD_OUT)} on held-out ones."
        for variant in VARIANTS
    ]


def _sentence(scores: Scores, measure: str, comparison: Comparison) -> str:
    distilled, random = (_cell(scores, measure, variant=variant, section=HELD_OUT) for variant in (DISTILLED, RANDOM))
    return (
        f"{MEASURES[measure]} on held-out patients: {distilled} {DISTILLED}, {random} from {RANDOM}. Distilled: "
        f"{explain(comparison, RANDOM)}, over {count(comparison.num_seeds, 'seed')} and "
        f"{count(comparison.num_patients, 'patient')}."
    )


def _means_table(scores: Scores) -> str:
    rows = [
        [variant, words, *(_cell(scores, key, variant=variant, section=section) for key in MEASURES)]
        for section, words in SECTIONS.items()
        for variant in VARIANTS
    ]
    return _table(["student", "patients", *MEASURES.values()], rows)


def _volumes_table(scores: Scores) -> str:
    columns = [(key, variant) for key in MEASURES for variant in VARIANTS]
    rows = []
    for volume in sorted({score["volume"] for score in scores}):
        of_it = [score for score in scores if score["volume"] == volume]
        rows.append([volume, *(_cell(of_it, key, variant=variant, section=HELD_OUT) for key, variant in columns)])
    return _table(["held-out sub-volume", *(f"{MEASURES[key]}, {variant}" for key, variant in columns)], rows)


def _cell(scores: Scores, measure: str, **of: str) -> str:
    """Mean over patients and their sub-volumes, then ± between seeds."""
    means = []
    for seed in sorted({score["seed"] for score in scores}):
        chosen = _select(scores, seed=seed, **of)
        patients = {score["patient"] for score in chosen}
        means.append(fmean(fmean(_values(chosen, measure, patient=patient)) for patient in patients))
    return f"{fmean(means):.3f}" if len(means) < 2 else f"{fmean(means):.3f} ± {stdev(means):.3f}"


def _values(scores: Scores, measure: str, **of: str | int) -> list[float]:
    return [float(score[measure]) for score in _select(scores, **of)]


def _select(scores: Scores, **of: str | int) -> Scores:
    return [score for score in scores if all(score[key] == value for key, value in of.items())]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
