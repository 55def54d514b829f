"""A picture of what an evaluation compares: frames with the labelled and the predicted outlines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from bundle.extras import needs_extra
from bundle.keys import PATIENT
from bundle.structures import COLOURS

with needs_extra("train", "an evaluation's pictures"):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D


class ExamplePictures:
    """Write ``examples.png``: for the first patients, the frame in which most structures are labelled.

    Args:
        structures: Names of the channels.
        output_dir: Folder of the picture.
        num_patients: Rows of the picture.
    """

    def __init__(self, structures: Sequence[str], output_dir: str | Path, num_patients: int = 4) -> None:
        self.structures, self.output_dir, self.num_patients = tuple(structures), Path(output_dir), num_patients
        self._examples: dict[str, tuple[int, np.ndarray, np.ndarray, np.ndarray]] = {}

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _keep(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        frames = output[CommonKeys.IMAGE].cpu().numpy()[:, 0]
        labels = output[CommonKeys.LABEL].cpu().numpy() > 0.5
        preds = output[CommonKeys.PRED].cpu().numpy()
        for patient, frame, label, pred in zip(batch[PATIENT], frames, labels, preds, strict=True):
            count = int(label.any(axis=(1, 2)).sum())
            is_new = patient not in self._examples and len(self._examples) < self.num_patients
            if is_new or (patient in self._examples and count > self._examples[patient][0]):
                self._examples[patient] = (count, frame, label, pred)

    def _write(self, _engine: Engine) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        figure = draw_examples([example[1:] for example in self._examples.values()], self.structures)
        figure.savefig(self.output_dir / "examples.png", dpi=110, bbox_inches="tight", facecolor="black")
        plt.close(figure)


def draw_examples(
    examples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], structures: Sequence[str]
) -> plt.Figure:
    """Rows of frame, labelled outlines and predicted outlines.

    Args:
        examples: Frame ``(H, W)`` in [0, 1], label ``(S, H, W)`` of booleans, logits ``(S, H, W)``.
        structures: Names of the ``S`` channels.
    """
    figure, axes = plt.subplots(
        len(examples),
        3,
        figsize=(10.5, 3.5 * len(examples) + 0.9),
        squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0),
        facecolor="black",
    )
    for row, (frame, label, logits) in zip(axes, examples, strict=True):
        for axis in row:
            axis.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
            axis.set_axis_off()
        _draw_outlines(row[1], label.astype(float), 0.5, structures)
        _draw_outlines(row[2], logits, 0.0, structures)
    for axis, title in zip(axes[0], ("frame", "label", "prediction"), strict=True):
        axis.set_title(title, color="white", fontsize=13)
    names = [name.upper() if len(name) == 2 else name.replace("_", " ") for name in structures]
    lines = [Line2D([], [], color=_colour(name, i), lw=3, label=names[i]) for i, name in enumerate(structures)]
    figure.legend(handles=lines, loc="outside lower center", ncols=6, fontsize=10, frameon=False, labelcolor="white")
    return figure


def _draw_outlines(axis: Any, values: np.ndarray, level: float, structures: Sequence[str]) -> None:
    for channel, name in enumerate(structures):
        if (values[channel] > level).any():
            axis.contour(values[channel], levels=[level], colors=[_colour(name, channel)], linewidths=1.6)


def _colour(name: str, channel: int) -> tuple[float, float, float]:
    if name in COLOURS:
        red, green, blue = COLOURS[name]
        return red / 255, green / 255, blue / 255
    return plt.get_cmap("tab10")(channel % 10)[:3]
