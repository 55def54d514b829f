"""A segmenter's worst frames: true and predicted outlines side by side, and what failed in words."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from bundle.inference.overlay import structure_colours
from bundle.laboratory.studies.failures import PatientResult, WorstFrame
from bundle.report.words import structure_label

LETTERS = "ABCDEFGH"
SHORT = {"upper_oesophageal_sphincter": "UOS"}
BACKGROUND, INK = "#111317", "#eceef2"
BOLD, THIN = 2.2, 0.9
MARGIN = 0.04
"""Around the masks, as a share of the frame."""


def worst_patients(patients: Sequence[PatientResult], number: int) -> list[PatientResult]:
    """Patients with the worst single frames, worst first; one frame of each is shown, so that they differ.

    Args:
        patients: Of one domain.
        number: At most ``len(LETTERS)``.
    """
    return sorted(patients, key=lambda patient: patient.worst.result.mean_dice)[:number]


def draw_failures(patients: Sequence[PatientResult], structures: Sequence[str]) -> Figure:
    """Each patient's worst frame, cut to its masks, with true and with predicted outlines; bold ones have failed.

    Args:
        patients: Rows, top to bottom, one or more.
        structures: Names of the channels.
    """
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
    for name, colour, mask in zip(structures, _colours(structures), masks, strict=True):
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=[colour], linewidths=BOLD if name in failed else THIN)


def _write_failures(axes: Axes, worst: WorstFrame, structures: Sequence[str]) -> None:
    colours = dict(zip(structures, _colours(structures), strict=True))
    result = worst.result
    head = f"{result.phase} phase\nmean Dice {result.mean_dice:.2f}"
    axes.text(0.0, 1.0, head, transform=axes.transAxes, va="top", color=INK, fontsize=9)
    for number, failure in enumerate(result.failures):
        height = 0.84 - 0.071 * number
        axes.text(0.0, height, "■", transform=axes.transAxes, va="top", color=colours[failure.structure], fontsize=8)
        words = f"{SHORT.get(failure.structure, structure_label(failure.structure))}: {failure.kind}"
        axes.text(0.09, height, words, transform=axes.transAxes, va="top", color=INK, fontsize=8)


def _legend(structures: Sequence[str]) -> list[Line2D]:
    names = [structure_label(name) + (f" ({SHORT[name]})" if name in SHORT else "") for name in structures]
    return [
        Line2D([], [], color=colour, linewidth=3, label=name)
        for name, colour in zip(names, _colours(structures), strict=True)
    ]


def _colours(structures: Sequence[str]) -> list[tuple[float, float, float]]:
    return [(red / 255, green / 255, blue / 255) for red, green, blue in structure_colours(structures)]
