"""Curves of the study on real films: Dice against the number of labelled films, and against the time of one core."""

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bundle.atomic import atomic_path
from bundle.laboratory.studies.real import TEST, RealStudy

if TYPE_CHECKING:
    from bundle.laboratory.studies.real_page import Scores

COLOURS = ("#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKS = "osD^v<>P"
FAINT = "#d9d9d9"


def draw_curves(study: RealStudy, scores: "Scores", target: Path) -> Path | None:
    """Draw ``real_teachers.svg``; a mark is a mean over runs and unseen films.

    Args:
        study: Its tasks of one set with other numbers of labels make the first panel, its first task the second.
        scores: Of the fine-tunings.
        target: Folder.

    Returns:
        The path; None if there is nothing to draw.
    """
    first = next(iter(study.plan)).tasks[0]
    films = study.tasks[first].films
    tasks = {task.labelled: name for name, task in study.tasks.items() if task.films == films}
    arms = [arm for arm in study.arms if (first, arm) in scores.runs]
    if not arms:
        return None
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "studies", "font.size": 9}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        by_labels, by_minutes = figure.subplots(1, 2)
        for number, arm in enumerate(arms):
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)], "linewidth": 1}
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
        by_labels.set_xlabel(f"labelled films of {films}")
        by_minutes.set_xlabel(f"minutes of one core: distillation and fine-tuning, {first}")
        for axes in (by_labels, by_minutes):
            _finish(axes)
        figure.legend(*by_labels.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        path = target / "real_teachers.svg"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return path


def _finish(axes: Axes) -> None:
    axes.set_ylabel(f"mean Dice, {TEST} films")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
