"""The evaluation as a picture: every patient's Dice and HD95, structure by structure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.atomic import atomic_path
from bundle.extras import needs_extra
from bundle.structures import COLORS

with needs_extra("train", "an evaluation's figure"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FALLBACK_COLOR = (120, 120, 120)
INK, FAINT = "#222222", "#d9d9d9"


@dataclass(frozen=True)
class PatientScore:
    """One structure in all frames of one patient; NaN where no frame gives a value."""

    patient: str
    structure: str
    frames: int
    dice: float
    hd95: float
    unit: str
    label_present_frames: int
    missed_frames: int
    label_absent_frames: int
    false_presence_frames: int


def draw_scores(scores: Sequence[PatientScore], structures: Sequence[str], unit: str, path: str | Path) -> Path:
    """Draw one dot per patient, a bar from the worst to the best, and a tick at the mean; NaN is not drawn."""
    # A figure of its own, without pyplot: no display and no global state is touched.
    figure = Figure(figsize=(10, 1.6 + 0.36 * len(structures)), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_panel(left, scores, structures, "dice")
    _draw_panel(right, scores, structures, "hd95")
    left.set_xlim(0, 1.02)
    left.set_xlabel("Dice (1 is best)")
    left.set_yticks(range(len(structures)), [name.replace("_", " ") for name in structures])
    left.invert_yaxis()
    right.set_xlim(left=0)
    right.set_xlabel(f"HD95 [{'mm' if unit == 'mm' else 'pixels'}] (0 is best)")
    num_patients = len({score.patient for score in scores})
    figure.suptitle(
        f"Agreement with the labels, {num_patients} {'patient' if num_patients == 1 else 'patients'}: "
        "one dot each, the black tick is the mean",
        fontsize=11,
        color=INK,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return Path(path)


def _draw_panel(axes: Axes, scores: Sequence[PatientScore], structures: Sequence[str], measure: str) -> None:
    for position, structure in enumerate(structures):
        values = np.array([getattr(score, measure) for score in scores if score.structure == structure], dtype=float)
        _draw_row(axes, values[~np.isnan(values)], position, COLORS.get(structure, FALLBACK_COLOR))
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_row(axes: Axes, values: np.ndarray, position: int, color: tuple[int, int, int]) -> None:
    if not values.size:
        axes.annotate("no value", (0, position), xytext=(6, 0), textcoords="offset points", va="center", color="gray")
        return
    rgb = [channel / 255 for channel in color]
    axes.plot([values.min(), values.max()], [position] * 2, color=rgb, linewidth=7, alpha=0.35, solid_capstyle="round")
    # Spread within the row, in a fixed order, so that equal patients stay visible and the picture can be redrawn.
    offsets = np.linspace(-0.16, 0.16, values.size) if values.size > 1 else np.zeros(1)
    axes.scatter(values, position + offsets, s=26, color=[rgb], edgecolors=INK, linewidths=0.5, zorder=3)
    axes.plot([values.mean()] * 2, [position - 0.32, position + 0.32], color=INK, linewidth=2, zorder=4)
