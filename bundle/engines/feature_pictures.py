"""A picture per validation: frames, each teacher's features, and the student's idea of them in the same colours."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor, nn

from bundle.extras import needs_extra
from bundle.teachers.similarity import pca_picture

with needs_extra("train", "distillation's pictures"):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

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
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self._write)

    def _write(self, engine: Engine) -> None:
        output: Any = engine.state.output
        count = self.num_frames
        columns = {"frame": output[CommonKeys.IMAGE][:count].cpu()}
        features = {
            name: (
                standardizer(output[CommonKeys.LABEL]["features"][name][:count].float()),
                output[CommonKeys.PRED]["features"][name][:count].float(),
            )
            for name, standardizer in self.standardizers.items()
        }
        self.output_dir.mkdir(parents=True, exist_ok=True)
        figure = draw_features(columns["frame"], features)
        figure.savefig(self.output_dir / f"features_{engine.state.epoch:03d}.png", dpi=90, bbox_inches="tight")
        plt.close(figure)


def draw_features(frames: Tensor, features: dict[str, tuple[Tensor, Tensor]]) -> plt.Figure:
    """Frames beside teachers' and student's features.

    Args:
        frames: Grayscale frames ``(B, 1, H, W)`` in [0, 1].
        features: Per teacher its standardized features and the student's projection, both ``(B, C, h, w)``. The two
            share their principal components and so their colours; columns of different teachers do not.
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
