"""Feature maps as colors, and where structures lie in feature space (t-SNE, van der Maaten & Hinton, JMLR 2008)."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from sklearn.manifold import TSNE
from torch import Tensor

from bundle.laboratory.studies.networks import FeatureMaps
from bundle.report.words import structure_label
from bundle.structures import COLORS, STRUCTURES
from bundle.teachers.similarity import pca_picture

TILE_SIZE = 96
NUM_COMPONENTS = 3


def draw_feature_maps(frames: Tensor, groups: Mapping[str, FeatureMaps], row_titles: Sequence[str]) -> Figure:
    """One row per frame, one column per map, in its first three principal components over the frames shown.

    A column's title ends with the share of its variance that the three components, and so the colors, hold.
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


MIN_SHARE = 0.0005
"""Smallest share of a frame that a structure must cover to become a point: 8 pixels of 128 x 128."""

PERPLEXITY = 30
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">", "p", "h")


@dataclass(frozen=True)
class StructurePoints:
    """One network's features of structures."""

    points: np.ndarray  # Features ``(N, C)``, each channel with mean 0 and standard deviation 1
    structures: np.ndarray  # Index among the masks ``(N,)``
    patients: np.ndarray  # Seed, or number ``(N,)``


def structure_points(features: Iterable[Tensor], masks: Tensor, patients: np.ndarray) -> StructurePoints:
    """A point for every structure of every frame: features ``(B, C, h, w)``, averaged under masks ``(N, S, H, W)``.

    Raises:
        ValueError: If features and masks are not of equally many frames.
    """
    maps = torch.cat([value.float() for value in features])
    if len(maps) != len(masks):
        raise ValueError(f"features and masks must be of the same frames, got {len(maps)} and {len(masks)}")
    cover = F.adaptive_avg_pool2d(
        masks.float(), (maps.shape[-2], maps.shape[-1])
    )  # share of each position that the mask covers
    means = torch.einsum("nshw,nchw->nsc", cover, maps) / cover.sum(dim=(2, 3)).clamp(min=1e-12)[..., None]
    frame, structure = torch.nonzero(masks.float().mean(dim=(2, 3)) >= MIN_SHARE, as_tuple=True)
    points = means[frame, structure]
    points = (points - points.mean(dim=0)) / points.std(dim=0).clamp(min=1e-12)
    return StructurePoints(points.numpy(), structure.numpy(), patients[frame.numpy()])


def nearest_share(found: StructurePoints) -> float:
    """Share of the points whose nearest point of another patient is of the same structure."""
    distances = torch.cdist(torch.from_numpy(found.points), torch.from_numpy(found.points)).numpy()
    distances[found.patients[:, None] == found.patients] = np.inf
    return float((found.structures[distances.argmin(axis=1)] == found.structures).mean())


def chance_share(found: StructurePoints) -> float:
    """What :func:`nearest_share` would be if the nearest point were any."""
    shares = np.bincount(found.structures) / len(found.structures)
    return float((shares**2).sum())


def embed(found: StructurePoints, seed: int = 0) -> np.ndarray:
    """t-SNE of the points ``(N, 2)``, from their principal components."""
    perplexity = min(PERPLEXITY, (len(found.points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(found.points)


def draw_embeddings(found: Mapping[str, StructurePoints], names: Sequence[str] = STRUCTURES) -> Figure:
    """A panel per network, in two rows; color and mark tell the structure."""
    columns = (len(found) + 2) // 2  # and a place for the legend
    figure = Figure(figsize=(3.0 * columns, 6.4), layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False).ravel()
    for axes, (title, points) in zip(panels, found.items(), strict=False):
        _draw_points(axes, embed(points), points.structures, names)
        axes.set_title(f"{title}\nsame structure nearest: {nearest_share(points):.0%}", fontsize=9)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    panels[-1].legend(handles, labels, loc="center", fontsize=9, frameon=False, markerscale=1.8)
    return figure


def nearest_table(found: Mapping[str, Mapping[str, StructurePoints]]) -> str:
    """Markdown: a row per network, its share per domain, and chance."""
    domains = list(found)
    lines = [f"| features | {' | '.join(f'{domain} domain' for domain in domains)} |", "|---|" + "---:|" * len(domains)]
    for name in found[domains[0]]:
        lines.append(f"| {name} | {' | '.join(f'{nearest_share(found[domain][name]):.0%}' for domain in domains)} |")
    chances = [chance_share(next(iter(found[domain].values()))) for domain in domains]
    return "\n".join([*lines, f"| chance | {' | '.join(f'{chance:.0%}' for chance in chances)} |"])


def _draw_points(axes: Axes, places: np.ndarray, structures: np.ndarray, names: Sequence[str]) -> None:
    colors = list(COLORS.values())
    for index, (name, marker) in enumerate(zip(names, itertools.cycle(MARKERS))):
        x, y = places[structures == index].T
        color = tuple(value / 255 for value in COLORS.get(name, colors[index % len(colors)]))
        axes.scatter(
            x, y, s=14, color=color, marker=marker, linewidths=0.3, edgecolors="#444444", label=structure_label(name)
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#bbbbbb")
