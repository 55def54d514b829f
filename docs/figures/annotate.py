"""Draw `annotate.png`: what the annotation app answers on a synthetic frame, automatically and click by click.

The app's own parts are asked, without a server. Run: python docs/figures/annotate.py
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import distance_transform_edt

from bundle.annotation.images import ImageCache, StudyImage
from bundle.annotation.options import AppOptions
from bundle.annotation.served_model import ServedModel
from bundle.phantom import generate_study
from bundle.phantom.writer import write_dicom
from bundle.segmentation.prompting import Prompt
from bundle.structures import COLORS, STRUCTURES

FIGURES = Path(__file__).resolve().parent
SEED, SIZE, FRAME = 987_654_334, 512, 5
STRUCTURE = "tongue"
FOREGROUND, BACKGROUND = (86 / 255, 180 / 255, 233 / 255), (230 / 255, 159 / 255, 0.0)


def draw() -> None:
    """Four panels: all structures, a first click, two corrections, and a box."""
    study = generate_study(SEED, SIZE, 12)
    options = AppOptions()
    model = ServedModel(lambda: Path(options.model), Path(options.memory))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cine.dcm"
        write_dicom(study, path, "synthetic")
        image = ImageCache().get(path)
        truth = study.masks[FRAME, STRUCTURES.index(STRUCTURE)] > 0
        (automatic,) = model.automatic(image, [FRAME])
        prompts = clicks(model, image, truth)
        answers = [model.click(image, prompt).mask.numpy() for prompt in prompts]
    figure, panels = plt.subplots(1, 4, figsize=(16, 4.9), layout="constrained")
    for panel in panels:
        panel.imshow(image.frame(FRAME)[0], cmap="gray", vmin=0, vmax=1)
        panel.set_axis_off()
    for name, mask in zip(STRUCTURES, automatic, strict=True):
        outline(panels[0], mask, np.array(COLORS[name]) / 255)
    own = automatic[STRUCTURES.index(STRUCTURE)]
    panels[0].set_title(f"auto: every structure\n{STRUCTURE}, Dice {dice(own, truth):.2f}")
    for panel, prompt, mask in zip(panels[1:], prompts, answers, strict=True):
        outline(panel, truth, (1.0, 1.0, 1.0), "dotted")
        outline(panel, mask, np.array(COLORS[STRUCTURE]) / 255)
        show_prompt(panel, prompt)
        panel.set_title(f"click: {words(prompt)}\n{STRUCTURE}, Dice {dice(mask, truth):.2f}")
    figure.savefig(FIGURES / "annotate.png", dpi=90)


def clicks(model: ServedModel, image: StudyImage, truth: np.ndarray) -> list[Prompt]:
    """One point inside; the same with two corrections, each where the last answer is most wrong; a box."""
    points, labels = [middle(truth)], [1]
    prompts = [Prompt(STRUCTURE, FRAME, tuple(points), tuple(labels))]
    for _ in range(2):
        mask = model.click(image, Prompt(STRUCTURE, FRAME, tuple(points), tuple(labels))).mask.numpy()
        missed, spilt = truth & ~mask, mask & ~truth
        worst = missed if missed.sum() >= spilt.sum() else spilt
        points.append(middle(worst))
        labels.append(int(worst is missed))
    rows, columns = np.nonzero(truth)
    box = (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
    return [*prompts, Prompt(STRUCTURE, FRAME, tuple(points), tuple(labels)), Prompt(STRUCTURE, FRAME, box=box)]


def middle(mask: np.ndarray) -> tuple[float, float]:
    """The pixel (x, y) of a mask that is farthest from its outline."""
    row, column = np.unravel_index(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].argmax(), mask.shape)
    return float(column), float(row)


def outline(panel: plt.Axes, mask: np.ndarray, color: object, style: str = "solid") -> None:
    """The outline of a mask, if there is any."""
    if mask.any():
        panel.contour(mask, levels=[0.5], colors=[color], linewidths=1.6, linestyles=style)


def show_prompt(panel: plt.Axes, prompt: Prompt) -> None:
    """Points inside as discs, outside as crosses; boxes as they are."""
    for (x, y), label in zip(prompt.points, prompt.point_labels, strict=True):
        panel.plot(x, y, "o" if label else "X", color=FOREGROUND if label else BACKGROUND, markersize=9, mec="black")
    if prompt.box:
        left, top, right, bottom = prompt.box
        panel.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, ec=FOREGROUND, lw=1.5))


def words(prompt: Prompt) -> str:
    """What was prompted, in words."""
    if prompt.box:
        return "a box"
    return "one point" if len(prompt.points) == 1 else f"{len(prompt.points)} points"


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two masks."""
    return 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())


if __name__ == "__main__":
    draw()
