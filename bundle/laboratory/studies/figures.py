"""How distillations weighed their teachers, as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bundle.atomic import atomic_path
from bundle.laboratory.studies.record import RunRecord
from bundle.laboratory.studies.traces import ENTROPY

INK, FAINT = "#222222", "#d9d9d9"
PANELS = 4
"""Of the weights, side by side."""
TEACHER_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe-Ito."""


def draw_weights(records: Sequence[RunRecord], order: Sequence[str], path: str | Path) -> Path | None:
    """Draw how the last distillation of every variant weighed its teachers over the steps, one panel per variant.

    Thick lines are means over seeds, thin ones the seeds; weights are shown as shares of their sum; the dashed line is
    their entropy, 1 for equal weights.

    Args:
        records: Runs of the study.
        order: Variants; those without a distillation from several teachers have no panel.
        path: SVG file, written atomically.

    Returns:
        The path; None if there is nothing to draw.
    """
    curves = {
        variant: [run.phases[-1]["curves"] for run in records if run.variant == variant and run.phases]
        for variant in order
    }
    curves = {variant: found for variant, found in curves.items() if found and len(_weights(found[0])) > 1}
    if not curves:
        return None
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "studies", "font.size": 9}):
        columns = min(PANELS, len(curves))
        rows = -(-len(curves) // columns)
        figure = Figure(figsize=(max(4.8, 2.4 * columns), 0.8 + 1.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (variant, found) in zip(panels, curves.items(), strict=False):
            _draw_weights(axes, found)
            axes.set_title(variant, fontsize=9)
            axes.set_xlabel("step of phase 1")
        for axes in panels[len(curves) :]:
            axes.set_visible(False)
        panels[0].set_ylim(-0.03, 1.03)
        figure.supylabel("share of the weights", fontsize=9)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return Path(path)


def _draw_weights(axes: Axes, seeds: Sequence[Mapping[str, Sequence[Sequence[float]]]]) -> None:
    teachers = _weights(seeds[0])
    styles = dict(zip(teachers, TEACHER_COLOURS, strict=False))
    totals = [np.sum([[value for _, value in curves[name]] for name in teachers], axis=0) for curves in seeds]
    for name in [*teachers, ENTROPY]:
        steps = [step for step, _ in seeds[0][name]]
        values = np.array([[value for _, value in curves[name]] for curves in seeds])
        shares = values if name == ENTROPY else values / np.array(totals)
        colour, line = styles.get(name, INK), "--" if name == ENTROPY else "-"
        axes.plot(steps, shares.T, color=colour, linewidth=0.5, alpha=0.5, linestyle=line)
        label = "entropy" if name == ENTROPY else name.removeprefix("weight/")
        axes.plot(steps, shares.mean(axis=0), color=colour, linewidth=1.6, linestyle=line, label=label)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _weights(curves: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    return [name for name in curves if name != ENTROPY]
