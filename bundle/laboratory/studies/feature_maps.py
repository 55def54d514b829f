"""Feature maps as colours: frames beside what every teacher and the student, before and after, make of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from bundle.laboratory.studies.networks import Features
from bundle.teachers.similarity import pca_picture

TILE_SIZE = 96
NUM_COMPONENTS = 3


def draw_feature_maps(frames: Tensor, groups: Mapping[str, Features], row_titles: Sequence[str]) -> Figure:
    """One row per frame, one column per map, in its first three principal components over the frames shown.

    A column's title ends with the share of its variance that the three components, and so the colours, hold.

    Args:
        frames: ``(B, 1, H, W)`` in [0, 1].
        groups: Maps ``(B, C, h, w)`` of the frames by group and name; every map is a column.
        row_titles: What each frame is.
    """
    widths = [1, *(len(group) for group in groups.values())]
    layout = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    figure = Figure(figsize=(0.3 + 1.15 * sum(widths), 0.6 + 1.15 * len(frames)), layout=layout)
    parts = figure.subfigures(1, len(widths), squeeze=False, width_ratios=[1.3, *widths[1:]], wspace=0.01)[0]
    pictures = {"frame\n": np.repeat(frames[:, 0].numpy()[..., None], 3, axis=-1)}
    _draw_columns(parts[0], " ", pictures, row_titles)
    for part, (title, group) in zip(parts[1:], groups.items(), strict=True):
        columns = {f"{name}\n{explained_share(value):.0%}": _tiles(value) for name, value in group.items()}
        _draw_columns(part, title, columns, [""] * len(frames))
    return figure


def explained_share(features: Tensor) -> float:
    """Share of the variance of ``(B, C, h, w)`` over all positions that the first three principal components hold."""
    rows = features.double().permute(0, 2, 3, 1).flatten(0, 2)
    variances = torch.linalg.eigvalsh((rows - rows.mean(dim=0)).T @ (rows - rows.mean(dim=0)))
    return float(variances[-NUM_COMPONENTS:].sum() / variances.sum().clamp(min=1e-300))


def _tiles(features: Tensor) -> np.ndarray:  # (B, C, h, w) -> (B, TILE_SIZE, TILE_SIZE, 3)
    return pca_picture({"": features}, TILE_SIZE).reshape(len(features), TILE_SIZE, TILE_SIZE, 3)


def _draw_columns(part: Figure, title: str, columns: Mapping[str, np.ndarray], row_titles: Sequence[str]) -> None:
    part.suptitle(title, fontsize=10)
    panels = part.subplots(len(row_titles), len(columns), squeeze=False)
    for column, (name, tiles) in enumerate(columns.items()):
        panels[0, column].set_title(name, fontsize=8)
        for axes, tile in zip(panels[:, column], tiles, strict=True):
            axes.imshow(tile, interpolation="nearest", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    for axes, row_title in zip(panels[:, 0], row_titles, strict=True):
        axes.set_ylabel(row_title, fontsize=8)
