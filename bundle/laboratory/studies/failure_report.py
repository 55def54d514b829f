"""What is known of a segmenter's failures, as Markdown."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from bundle.laboratory.studies.failure_causes import Extreme, associations, harmful_extremes
from bundle.laboratory.studies.failure_pictures import LETTERS
from bundle.laboratory.studies.failures import FAILED, KINDS, PatientResult, StructureFailure
from bundle.laboratory.studies.statistics import LEVEL, count, format_p_value
from bundle.report.words import structure_label

NUM_ASSOCIATIONS = 5


def failures_section(
    patients: Sequence[PatientResult], shown: Sequence[PatientResult], structures: Sequence[str]
) -> str:
    """Everything that is computed of a domain's failures: counts, moments, associations and the frames shown.

    Args:
        patients: Of the domain.
        shown: Those whose worst frames are in the picture.
        structures: Names of the channels.
    """
    usual = _usual_areas(patients, structures)
    frames = [_frame_text(letter, one, patients, usual) for letter, one in zip(LETTERS, shown, strict=False)]
    parts = [_in_short(patients), _structure_table(patients, structures), _phase_text(patients)]
    return "\n\n".join([*parts, _association_text(patients), *frames])


def _in_short(patients: Sequence[PatientResult]) -> str:
    frames = [frame for patient in patients for frame in patient.frames]
    kinds = Counter(failure.kind for frame in frames for failure in frame.failures)
    there = sum(len(frame.present) for frame in frames)
    failed = sum(kinds.values()) - kinds["invented"]
    return (
        f"{count(len(patients), 'patient')}, {count(len(frames), 'frame')}: mean Dice "
        f"{np.mean([patient.mean_dice for patient in patients]):.3f} (lowest patient "
        f"{min(patient.mean_dice for patient in patients):.3f}, lowest frame "
        f"{np.nanmin([frame.mean_dice for frame in frames]):.3f}). Of {there} structures in frames, {failed} "
        f"({failed / max(there, 1):.1%}) have a Dice below {FAILED}: "
        f"{', '.join(f'{kinds[kind]} {kind}' for kind in KINDS if kind != 'invented')}. "
        f"{count(kinds['invented'], 'structure')} that {'is' if kinds['invented'] == 1 else 'are'} not in the frame "
        f"{'was' if kinds['invented'] == 1 else 'were'} invented."
    )


def _structure_table(patients: Sequence[PatientResult], structures: Sequence[str]) -> str:
    frames = [frame for patient in patients for frame in patient.frames]
    lines = [f"| structure | in frames | mean Dice | {' | '.join(KINDS)} |", "|---|" + "---:|" * (2 + len(KINDS))]
    for channel, name in enumerate(structures):
        kinds = Counter(failure.kind for frame in frames for failure in frame.failures if failure.structure == name)
        scores = [frame.dice[channel] for frame in frames if name in frame.present]
        mean = f"{np.mean(scores):.3f}" if scores else "–"
        lines.append(
            f"| {structure_label(name)} | {len(scores)} | {mean} | {' | '.join(str(kinds[k]) for k in KINDS)} |"
        )
    return "\n".join(lines)


def _phase_text(patients: Sequence[PatientResult]) -> str:
    found: dict[str, list[float]] = {}
    for frame in (frame for patient in patients for frame in patient.frames):
        found.setdefault(frame.phase, []).append(frame.mean_dice)
    told = [f"{phase} {np.nanmean(values):.3f} ({count(len(values), 'frame')})" for phase, values in found.items()]
    return f"Mean Dice by phase of the swallow: {', '.join(told)}."


def _association_text(patients: Sequence[PatientResult]) -> str:
    found = associations(patients)
    clear = [association for association in found if association.p_value < LEVEL]
    lines = ["| drawn value | rank correlation with Dice | p, corrected |", "|---|---:|---:|"]
    for association in found[:NUM_ASSOCIATIONS]:
        p_value = format_p_value(association.p_value).removeprefix("= ")
        lines.append(f"| {association.name} | {association.correlation:+.2f} | {p_value} |")
    intro = (
        f"Of {len(found)} drawn values of patient, swallow and machine, {len(clear)} "
        f"{'goes' if len(clear) == 1 else 'go'} with the patients' Dice (Spearman, p < {LEVEL} after Holm's "
        "correction). The strongest:"
    )
    return "\n".join([intro, "", *lines])


def _frame_text(letter: str, patient: PatientResult, patients: Sequence[PatientResult], usual: dict[str, float]) -> str:
    result = patient.worst.result
    lines = [
        f"**{letter}.** Patient {patient.seed}, frame {result.index + 1} of {len(patient.frames)}, {result.phase} "
        f"phase; mean Dice {result.mean_dice:.3f} of {count(len(result.present), 'structure')}, of all the patient's "
        f"frames {patient.mean_dice:.3f}.",
        "",
        *(f"- {_failure_text(failure, usual)}" for failure in result.failures),
    ]
    if not result.failures:
        lines.append(f"- No structure has a Dice below {FAILED}.")
    extremes = harmful_extremes(patient, patients)
    told = "; ".join(_extreme_text(extreme) for extreme in extremes) or "none"
    lines.append(f"- Extreme, at the end where Dice is lower: {told}.")
    return "\n".join(lines)


def _failure_text(failure: StructureFailure, usual: dict[str, float]) -> str:
    score = "" if math.isnan(failure.dice) else f"Dice {failure.dice:.2f}, "
    often = f" (median of the domain {usual[failure.structure]:.0f})" if failure.structure in usual else ""
    apart = "" if math.isnan(failure.distance_mm) else f", centroids {failure.distance_mm:.0f} mm apart"
    return (
        f"{structure_label(failure.structure)}: {failure.kind}; {score}true area {failure.label_mm2:.0f} mm²{often}, "
        f"predicted {failure.pred_mm2:.0f} mm²{apart}."
    )


def _extreme_text(extreme: Extreme) -> str:
    return (
        f"{extreme.name} {extreme.value:.3g} (rank {extreme.rank:g} of {extreme.num_patients}, correlation "
        f"{extreme.correlation:+.2f})"
    )


def _usual_areas(patients: Sequence[PatientResult], structures: Sequence[str]) -> dict[str, float]:
    """Median true area in mm² of every structure over the frames that show it."""
    areas = np.stack([frame.label_mm2 for patient in patients for frame in patient.frames])
    return {
        name: float(np.median(column[column > 0]))
        for name, column in zip(structures, areas.T, strict=True)
        if column.any()
    }
