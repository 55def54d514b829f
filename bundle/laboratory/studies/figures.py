"""Figures of studies: teachers' weights over a training, Dice against labeled films and against time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bundle.atomic import atomic_path
from bundle.laboratory.studies.readouts import ENTROPY
from bundle.laboratory.studies.real import TEST, RealStudy
from bundle.laboratory.studies.record import RunRecord

INK, FAINT = "#222222", "#d9d9d9"
PANELS = 4
"""Of the weights, side by side."""
TEACHER_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe-Ito."""
ARM_COLORS = (INK, *TEACHER_COLORS, "#E69F00", "#56B4E9", "#999999")
MARKS = "osD^v<>P"
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "studies", "font.size": 9}


def draw_weights(records: Sequence[RunRecord], order: Sequence[str], path: str | Path) -> Path | None:
    """Draw how every variant's last distillation weighed its teachers, if any had several; the SVG's path.

    Thick lines are means over seeds, thin ones the seeds; weights are shown as shares of their sum; the dashed line is
    their entropy, 1 for equal weights.
    """
    curves = {
        variant: [run.phases[-1]["curves"] for run in records if run.variant == variant and run.phases]
        for variant in order
    }
    curves = {variant: found for variant, found in curves.items() if found and len(_weights(found[0])) > 1}
    if not curves:
        return None
    with mpl.rc_context(STYLE):
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
        return _save(figure, Path(path))


def _draw_weights(axes: Axes, seeds: Sequence[Mapping[str, Sequence[Sequence[float]]]]) -> None:
    teachers = _weights(seeds[0])
    styles = dict(zip(teachers, TEACHER_COLORS, strict=False))
    totals = [np.sum([[value for _, value in curves[name]] for name in teachers], axis=0) for curves in seeds]
    for name in [*teachers, ENTROPY]:
        steps = [step for step, _ in seeds[0][name]]
        values = np.array([[value for _, value in curves[name]] for curves in seeds])
        shares = values if name == ENTROPY else values / np.array(totals)
        color, line = styles.get(name, INK), "--" if name == ENTROPY else "-"
        axes.plot(steps, shares.T, color=color, linewidth=0.5, alpha=0.5, linestyle=line)
        label = "entropy" if name == ENTROPY else name.removeprefix("weight/")
        axes.plot(steps, shares.mean(axis=0), color=color, linewidth=1.6, linestyle=line, label=label)
    _finish(axes)


def _weights(curves: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    return [name for name in curves if name != ENTROPY]


class HasFilms(Protocol):
    """Records by task and arm, and the scores of their films."""

    runs: dict[tuple[str, str], list[RunRecord]]

    def films(self, task: str, arm: str) -> Mapping[Any, float]:
        """Mean over structures, of every film of every run."""


def draw_curves(study: RealStudy, scores: HasFilms, target: Path) -> Path | None:
    """Draw ``real_teachers.svg``, if there are runs; a mark is a mean over runs and unseen films."""
    first = next(iter(study.plan)).tasks[0]
    films = study.tasks[first].films
    tasks = {task.labelled: name for name, task in study.tasks.items() if task.films == films}
    arms = [arm for arm in study.arms if (first, arm) in scores.runs]
    if not arms:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        by_labels, by_minutes = figure.subplots(1, 2)
        for number, arm in enumerate(arms):
            style = {
                "color": ARM_COLORS[number % len(ARM_COLORS)],
                "marker": MARKS[number % len(MARKS)],
                "linewidth": 1,
            }
            known = {count: found for count, name in tasks.items() if (found := scores.films(name, arm))}
            points = sorted((count, fmean(found.values())) for count, found in known.items())
            by_labels.plot(*zip(*points, strict=True), label=arm, markersize=4, **style)
            minutes = [
                run.measured["distillation"] + run.measured["fine-tuning"]
                for run in scores.runs[first, arm]
                if {"distillation", "fine-tuning"} <= set(run.measured)
            ]
            if minutes:
                by_minutes.plot(fmean(minutes), fmean(scores.films(first, arm).values()), markersize=6, **style)
        by_labels.set_xscale("log")
        by_labels.set_xticks(sorted(tasks), [str(count) for count in sorted(tasks)])
        by_labels.minorticks_off()
        by_labels.set_xlabel(f"labeled films of {films}")
        by_minutes.set_xlabel(f"minutes of one core: distillation and fine-tuning, {first}")
        for axes in (by_labels, by_minutes):
            axes.set_ylabel(f"mean Dice, {TEST} films")
            _finish(axes)
        figure.legend(*by_labels.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        return _save(figure, target / "real_teachers.svg")


def _finish(axes: Axes) -> None:
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return path
