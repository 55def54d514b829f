"""Pictures of a validation: what the student makes of each teacher, and labeled beside predicted outlines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor, nn

from bundle.extras import needs_extra
from bundle.keys import PATIENT
from bundle.ranks import rank
from bundle.structures import COLORS
from bundle.teachers.similarity import pca_picture

with needs_extra("train", "a validation's pictures"):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

TILE_SIZE = 128


class FeaturePictures:
    """Write ``features_<epoch>.png`` from the first validation batch.

    Args:
        standardizers: The loss's standardizers by teacher: the student imitates *standardized* features.
        output_dir: Folder of the pictures.
        num_frames: Frames to show, one per row.
    """

    def __init__(self, standardizers: nn.ModuleDict, output_dir: str | Path, num_frames: int = 4) -> None:
        self.standardizers, self.output_dir, self.num_frames = standardizers, Path(output_dir), num_frames

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the engine."""
        if rank() > 0:
            return
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self._write)

    def _write(self, engine: Engine) -> None:
        output: Any = engine.state.output
        count = self.num_frames
        features = {
            name: (
                standardizer(output[CommonKeys.LABEL]["features"][name][:count].float()),
                output[CommonKeys.PRED]["features"][name][:count].float(),
            )
            for name, standardizer in self.standardizers.items()
        }
        figure = draw_features(output[CommonKeys.IMAGE][:count].cpu(), features)
        _save(figure, self.output_dir / f"features_{engine.state.epoch:03d}.png", dpi=90)


def draw_features(frames: Tensor, features: dict[str, tuple[Tensor, Tensor]]) -> plt.Figure:
    """Frames beside teachers' and student's features.

    Args:
        frames: Grayscale frames ``(B, 1, H, W)`` in [0, 1].
        features: Per teacher its standardized features and the student's projection, both ``(B, C, h, w)``. The two
            share their principal components and so their colors; columns of different teachers do not.
    """
    columns = [("frame", np.repeat(frames[:, 0].numpy()[..., None], 3, axis=-1))]
    for name, pair in features.items():
        picture = pca_picture({name: torch.cat([part.detach().cpu() for part in pair])}, TILE_SIZE) / 255
        tiles = picture.reshape(2, len(frames), TILE_SIZE, TILE_SIZE, 3)
        columns += [(name, tiles[0]), (f"student → {name}", tiles[1])]
    figure, axes = plt.subplots(
        len(frames), len(columns), figsize=(1.6 * len(columns), 1.7 * len(frames)), squeeze=False, layout="tight"
    )
    for column, (title, tiles) in enumerate(columns):
        axes[0, column].set_title(title, fontsize=9)
        for row, tile in enumerate(tiles):
            axes[row, column].imshow(tile, interpolation="nearest")
            axes[row, column].set_axis_off()
    return figure


class ExamplePictures:
    """Write ``examples.png``: for the first patients, the frame in which most structures are labeled.

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
        if rank() > 0:
            return
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
        figure = draw_examples([example[1:] for example in self._examples.values()], self.structures)
        _save(figure, self.output_dir / "examples.png", dpi=110, facecolor="black")


def draw_examples(
    examples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], structures: Sequence[str]
) -> plt.Figure:
    """Rows of frame, labeled outlines and predicted outlines.

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
    lines = [Line2D([], [], color=_color(name, i), lw=3, label=names[i]) for i, name in enumerate(structures)]
    figure.legend(handles=lines, loc="outside lower center", ncols=6, fontsize=10, frameon=False, labelcolor="white")
    return figure


def _save(figure: plt.Figure, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", **options)
    plt.close(figure)


def _draw_outlines(axis: Any, values: np.ndarray, level: float, structures: Sequence[str]) -> None:
    for channel, name in enumerate(structures):
        if (values[channel] > level).any():
            axis.contour(values[channel], levels=[level], colors=[_color(name, channel)], linewidths=1.6)


def _color(name: str, channel: int) -> tuple[float, float, float]:
    if name in COLORS:
        red, green, blue = COLORS[name]
        return red / 255, green / 255, blue / 255
    return plt.get_cmap("tab10")(channel % 10)[:3]
