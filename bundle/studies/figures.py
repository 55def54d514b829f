"""A study as a figure for a paper: every seed's score, their mean, and the difference's interval, split by split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bundle.atomic import atomic_path
from bundle.studies.record import RunRecord, split_names
from bundle.studies.statistics import HIGHER, LOWER, Comparison, compare_all, score, verdict
from bundle.studies.traces import ENTROPY

INK, FAINT = "#222222", "#d9d9d9"
REFERENCE, OTHER = "reference", "no verdict"
PANELS = 4
"""Of the weights, side by side."""
TEACHER_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# Okabe-Ito colours, and shapes for print without colour.
STYLES = {REFERENCE: (INK, "s"), HIGHER: ("#009E73", ">"), LOWER: ("#D55E00", "<"), OTHER: ("#0072B2", "D")}


def draw_scores(records: Sequence[RunRecord], order: Sequence[str], reference: str, path: str | Path) -> Path:
    """Draw a panel per split: small dots are seeds, the large mark is their mean, the dashed line the reference's mean.

    The bar is the interval of the difference to the reference, drawn from the dashed line: one that crosses the line
    contains 0. See :mod:`bundle.studies.statistics` for interval and verdict.

    Args:
        records: Runs of the study, one or more.
        order: Variants, top to bottom; one without a run keeps its row.
        reference: Name of the variant that the others are compared with.
        path: SVG file, written atomically.

    Returns:
        The path.

    Raises:
        ValueError: If there is no run, or two have the same variant and seed.
    """
    # Text stays text, and the same figure is the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "studies", "font.size": 9}):
        figure = scores_figure(records, order, reference)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return Path(path)


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


def scores_figure(records: Sequence[RunRecord], order: Sequence[str], reference: str) -> Figure:
    """The figure that :func:`draw_scores` writes, for other formats.

    Args:
        records: Runs of the study, one or more.
        order: Variants, top to bottom.
        reference: Name of the variant that the others are compared with.

    Raises:
        ValueError: If there is no run, or two have the same variant and seed.
    """
    splits = split_names(records)
    if not splits:
        raise ValueError("expected one finished run or more to draw, got none")
    # A figure of its own, without pyplot: no display and no global state is touched.
    figure = Figure(figsize=(2.2 + 2.7 * len(splits), 1.3 + 0.32 * len(order)), layout="constrained")
    panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        _draw_panel(axes, records, order, reference, split)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _draw_panel(axes: Axes, records: Sequence[RunRecord], order: Sequence[str], reference: str, split: str) -> None:
    comparisons = compare_all(records, order, reference, split)
    base = score(records, reference, split)
    if base is not None:
        axes.axvline(base.mean, color=INK, linewidth=0.8, linestyle="--", zorder=1)
    for position, variant in enumerate(order):
        comparison = comparisons.get(variant)
        colour, marker = STYLES[REFERENCE if variant == reference else _verdict_style(comparison)]
        if base is not None and comparison is not None and comparison.interval is not None:
            ends = [base.mean + end for end in comparison.interval]
            axes.plot(ends, [position] * 2, color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt", zorder=2)
        found = score(records, variant, split)
        if found is not None:
            seeds = list(found.per_seed.values())
            axes.scatter(seeds, [position + 0.24] * len(seeds), s=9, color=colour, linewidths=0, zorder=3)
            axes.scatter([found.mean], [position], s=34, color=colour, marker=marker, edgecolors="white", zorder=4)
    axes.set_title(split.replace("_", " "), fontsize=9)
    axes.set_xlabel("mean Dice (1 is best)")
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _verdict_style(comparison: Comparison | None) -> str:
    word = OTHER if comparison is None else verdict(comparison)
    return word if word in STYLES else OTHER


def _legend() -> list[Line2D]:
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=name if name == REFERENCE else f"mean: {name}")
        for name, (colour, marker) in STYLES.items()
    ]
    seed = Line2D([], [], color=INK, marker="o", markersize=3, linestyle="", label="a seed")
    bar = Line2D([], [], color=INK, alpha=0.35, linewidth=5, label="95% interval of the difference")
    return [*marks, seed, bar]
