"""A segmenter's worst frames: true and predicted outlines side by side, and what failed in words."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from bundle.inference.overlay import structure_colors
from bundle.laboratory.studies.failures import (
    FAILED,
    KINDS,
    Extreme,
    PatientResult,
    StructureFailure,
    WorstFrame,
    associations,
    harmful_extremes,
)
from bundle.laboratory.studies.statistics import LEVEL, count, format_p_value
from bundle.report.words import structure_label

LETTERS = "ABCDEFGH"
SHORT = {"upper_oesophageal_sphincter": "UOS"}
BACKGROUND, INK = "#111317", "#eceef2"
BOLD, THIN = 2.2, 0.9
MARGIN = 0.04
"""Around the masks, as a share of the frame."""


def worst_patients(patients: Sequence[PatientResult], number: int) -> list[PatientResult]:
    """Patients with the worst single frames, worst first; one frame of each is shown, so that they differ."""
    return sorted(patients, key=lambda patient: patient.worst.result.mean_dice)[:number]


def draw_failures(patients: Sequence[PatientResult], structures: Sequence[str]) -> Figure:
    """Each patient's worst frame, cut to its masks, with true and with predicted outlines; bold ones have failed."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    figure = Figure(figsize=(10.2, 2.78 * len(patients) + 0.85), layout=layout, facecolor=BACKGROUND)
    panels = figure.subplots(len(patients), 4, squeeze=False, width_ratios=[1, 1, 1, 0.68])
    for letter, row, patient in zip(LETTERS, panels, patients, strict=False):
        worst = patient.worst
        window = _window(worst)
        for axes, masks in zip(row[:3], (None, worst.label, worst.pred), strict=True):
            axes.imshow(worst.frame[window], cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
            if masks is not None:
                _draw_outlines(axes, masks[:, *window], worst, structures)
        row[0].text(0.03, 0.97, letter, transform=row[0].transAxes, va="top", color=INK, fontsize=14, weight="bold")
        _write_failures(row[3], worst, structures)
        for axes in row:
            axes.set_axis_off()
    for axes, title in zip(panels[0], ("frame", "truth", "prediction", "failed"), strict=True):
        axes.set_title(title, color=INK, fontsize=11, loc="left" if title == "failed" else "center")
    legend = figure.legend(
        handles=_legend(structures), loc="outside lower center", ncols=6, frameon=False, fontsize=8.5
    )
    for text in legend.get_texts():
        text.set_color(INK)
    return figure


def _window(worst: WorstFrame) -> tuple[slice, slice]:
    """Square around all masks, true and predicted, within the frame."""
    size = min(worst.frame.shape)
    rows, columns = np.nonzero((worst.label | worst.pred).any(axis=0))
    margin = round(MARGIN * size)
    side = min(size, max(np.ptp(rows), np.ptp(columns)) + 1 + 2 * margin)
    starts = [
        int(np.clip((values.min() + values.max() + 1 - side) // 2, 0, total - side))
        for values, total in zip((rows, columns), worst.frame.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _draw_outlines(axes: Axes, masks: np.ndarray, worst: WorstFrame, structures: Sequence[str]) -> None:
    failed = {failure.structure for failure in worst.result.failures}
    for name, color, mask in zip(structures, _colors(structures), masks, strict=True):
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=[color], linewidths=BOLD if name in failed else THIN)


def _write_failures(axes: Axes, worst: WorstFrame, structures: Sequence[str]) -> None:
    colors = dict(zip(structures, _colors(structures), strict=True))
    result = worst.result
    head = f"{result.phase} phase\nmean Dice {result.mean_dice:.2f}"
    axes.text(0.0, 1.0, head, transform=axes.transAxes, va="top", color=INK, fontsize=9)
    for number, failure in enumerate(result.failures):
        height = 0.84 - 0.071 * number
        axes.text(0.0, height, "■", transform=axes.transAxes, va="top", color=colors[failure.structure], fontsize=8)
        words = f"{SHORT.get(failure.structure, structure_label(failure.structure))}: {failure.kind}"
        axes.text(0.09, height, words, transform=axes.transAxes, va="top", color=INK, fontsize=8)


def _legend(structures: Sequence[str]) -> list[Line2D]:
    names = [structure_label(name) + (f" ({SHORT[name]})" if name in SHORT else "") for name in structures]
    return [
        Line2D([], [], color=color, linewidth=3, label=name)
        for name, color in zip(names, _colors(structures), strict=True)
    ]


def _colors(structures: Sequence[str]) -> list[tuple[float, float, float]]:
    return [(red / 255, green / 255, blue / 255) for red, green, blue in structure_colors(structures)]


NUM_ASSOCIATIONS = 5


def failures_section(
    patients: Sequence[PatientResult], shown: Sequence[PatientResult], structures: Sequence[str]
) -> str:
    """Everything that is computed of a domain's failures: counts, moments, associations and the frames shown."""
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
