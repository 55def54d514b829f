"""Draw `stored_value_to_tensor.png`: a MONOCHROME1 frame on its way through the steps of PS3.3 C.11.

Run from anywhere: ``python docs/figures/stored_value_to_tensor.py``.
"""

import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.data.dicom_grayscale import GraySteps, display_table, modality_values
from bundle.phantom import generate_study

SIZE, HIGHEST = 256, 4095
STEPS = GraySteps("u2", slope=2.0, intercept=-1024.0, window=(2600.0, 5200.0, "LINEAR"), is_inverted=True)
CAPTIONS = (
    "1  stored value\n12 of 16 bits are kept",
    "2  modality LUT, or rescale\n2 · stored − 1024",
    "3  VOI LUT, or first window\ncenter 2600, width 5200",
    "4  MONOCHROME1: 1 − value\noutside the shutter: 0",
)
LABELS = ("stored value", "modality value", "value in the window", "clip.frames, float32")
COLOR = "#0072B2"


def main() -> None:
    """Work out each step with the reader's own functions, and draw frame and curve."""
    shown = generate_study(2, SIZE, 9).frames[4, 0]
    stored = np.uint16(np.round((1.0 - shown) * 2600 + 512))  # MONOCHROME1: bright on the screen is a low value
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    visible = np.hypot(rows, columns) < 0.52 * SIZE
    values = np.arange(2**16)
    tables = (
        values.astype(float),
        modality_values(STEPS),
        display_table(replace(STEPS, is_inverted=False)),
        display_table(STEPS),
    )
    figure, axes = plt.subplots(2, 4, figsize=(12, 5.5), layout="constrained", height_ratios=(2.1, 1))
    for index, (table, caption, label) in enumerate(zip(tables, CAPTIONS, LABELS, strict=True)):
        frame = table[stored] * (visible if index == 3 else 1)
        limits = (table[0], table[HIGHEST]) if index < 2 else (0, 1)
        top, bottom = axes[:, index]
        picture = top.imshow(frame, cmap="gray", vmin=limits[0], vmax=limits[1])
        top.set_title(caption, fontsize=10.5, loc="left")
        top.set_axis_off()
        figure.colorbar(picture, ax=top, orientation="horizontal", shrink=0.9, pad=0.03).locator = MaxNLocator(4)
        bottom.plot(values[: HIGHEST + 1], table[: HIGHEST + 1], color=COLOR, linewidth=2)
        bottom.set_xlim(0, HIGHEST)
        bottom.set_xticks((0, 2048, HIGHEST))
        bottom.set_xlabel("stored value", fontsize=9.5)
        bottom.set_ylabel(label, fontsize=9.5)
        bottom.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
