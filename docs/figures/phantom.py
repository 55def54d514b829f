"""Draw docs/figures/phantom.png: one synthetic swallow, its masks, and six synthetic patients."""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.phantom import PhantomStudy, generate_study
from bundle.structures import COLORS, STRUCTURES

SWALLOW_SEED, PATIENT_SEEDS, SIZE = 2, (0, 6, 11, 13, 1, 14), 288
MOMENTS_S = (-0.75, 0.03, 0.20, 0.36, 0.55, 1.45)


def draw_outlines(axis: plt.Axes, masks: np.ndarray) -> None:
    """Draw each mask's border, the large structures first."""
    for index in np.argsort(-masks.sum(axis=(1, 2))):
        if masks[index].any():
            color = np.array(COLORS[STRUCTURES[index]]) / 255
            axis.contourf(masks[index], levels=[0.5, 1.5], colors=[color], alpha=0.16)
            axis.contour(masks[index], levels=[0.5], colors=[color], linewidths=1.1)


def show(axis: plt.Axes, frame: np.ndarray, text: str) -> None:
    axis.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="lanczos")
    label = axis.text(0.03, 0.03, text, transform=axis.transAxes, color="white", fontsize=8)
    label.set_path_effects([withStroke(linewidth=2, foreground="black")])


def compress(path: Path) -> None:
    """Keep 112 grays and 12 blends of each structure's color: a quarter of the size, and no color gets lost."""
    grays = [(round(255 * i / 111),) * 3 for i in range(112)]
    blends = [
        tuple(round(share * value + (1 - share) * gray) for value in color)
        for color in COLORS.values()
        for share in (1.0, 0.6, 0.3, 0.16)
        for gray in (30, 100, 190)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for color in grays + blends for value in color])
    picture = Image.open(path).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def main() -> None:
    swallow = generate_study(SWALLOW_SEED, SIZE, 90, sampling="consecutive", frame_rate=30)
    moments = [int(np.argmin(abs(swallow.kinematics.time_s - time))) for time in MOMENTS_S]
    patients: list[PhantomStudy] = [generate_study(seed, SIZE, 9) for seed in PATIENT_SEEDS]
    figure, axes = plt.subplots(3, 6, figsize=(12, 6.55), facecolor="black")
    for column, index in enumerate(moments):
        frame, masks = swallow.frames[index, 0], swallow.masks[index]
        show(axes[0, column], frame, f"{swallow.kinematics.time_s[index]:+.2f} s")
        show(axes[1, column], frame, swallow.kinematics.phase[index])
        draw_outlines(axes[1, column], masks)
    for column, study in enumerate(patients):
        words = [name.replace("_", " ") for name in ("hardware", "aspiration", "residue") if study.description[name]]
        show(axes[2, column], study.frames[4, 0], ", ".join([study.description["gray_scale"], *words]))
    for axis in axes.flat:
        axis.set_axis_off()
    lines = [Line2D([], [], color=np.array(COLORS[name]) / 255, lw=3) for name in STRUCTURES]
    names = [name.upper() if len(name) == 2 else name.replace("_", " ") for name in STRUCTURES]
    figure.legend(
        lines,
        names,
        loc="lower center",
        ncols=12,
        frameon=False,
        labelcolor="white",
        fontsize=7.5,
        handlelength=1.0,
        columnspacing=1.1,
        handletextpad=0.4,
    )
    figure.subplots_adjust(left=0, right=1, top=1, bottom=0.055, wspace=0.015, hspace=0.015)
    path = Path(__file__).with_suffix(".png")
    figure.savefig(path, dpi=125, facecolor="black")
    compress(path)
    print(path, path.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
