"""Where structures lie in feature space: t-SNE (van der Maaten & Hinton, JMLR 2008), and a number beside it."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from torch import Tensor

from bundle.report.words import structure_label
from bundle.structures import COLOURS, STRUCTURES

MIN_SHARE = 0.0005
"""Smallest share of a frame that a structure must cover to become a point: 8 pixels of 128 x 128."""

PERPLEXITY = 30
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">", "p", "h")


@dataclass(frozen=True)
class StructurePoints:
    """One network's features of structures.

    Attributes:
        points: Features ``(N, C)``, each channel with mean 0 and standard deviation 1.
        structures: Index among the masks ``(N,)``.
        patients: Seed, or number ``(N,)``.
    """

    points: np.ndarray
    structures: np.ndarray
    patients: np.ndarray


def structure_points(features: Iterable[Tensor], masks: Tensor, patients: np.ndarray) -> StructurePoints:
    """A point for every structure of every frame: the features, averaged under its mask.

    Args:
        features: Maps ``(B, C, h, w)``, batch by batch, together of all frames.
        masks: True masks ``bool (N, S, H, W)``.
        patients: Of the frames ``(N,)``.

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
    """t-SNE of the points ``(N, 2)``, from their principal components.

    Args:
        found: More than a few points.
        seed: Of what little is random.
    """
    perplexity = min(PERPLEXITY, (len(found.points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(found.points)


def draw_embeddings(found: Mapping[str, StructurePoints], names: Sequence[str] = STRUCTURES) -> Figure:
    """A panel per network, in two rows; colour and mark tell the structure.

    Args:
        found: By the panels' titles.
        names: Of the structures, in the order of the masks.
    """
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
    """Markdown: a row per network, its share per domain, and chance.

    Args:
        found: By domain, then by network.
    """
    domains = list(found)
    lines = [f"| features | {' | '.join(f'{domain} domain' for domain in domains)} |", "|---|" + "---:|" * len(domains)]
    for name in found[domains[0]]:
        lines.append(f"| {name} | {' | '.join(f'{nearest_share(found[domain][name]):.0%}' for domain in domains)} |")
    chances = [chance_share(next(iter(found[domain].values()))) for domain in domains]
    return "\n".join([*lines, f"| chance | {' | '.join(f'{chance:.0%}' for chance in chances)} |"])


def _draw_points(axes: Axes, places: np.ndarray, structures: np.ndarray, names: Sequence[str]) -> None:
    colours = list(COLOURS.values())
    for index, (name, marker) in enumerate(zip(names, itertools.cycle(MARKERS))):
        x, y = places[structures == index].T
        color = tuple(value / 255 for value in COLOURS.get(name, colours[index % len(colours)]))
        axes.scatter(
            x, y, s=14, color=color, marker=marker, linewidths=0.3, edgecolors="#444444", label=structure_label(name)
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#bbbbbb")
