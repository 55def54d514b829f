"""How alike the student's layers are to every teacher: linear CKA, before and after distillation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from bundle.laboratory.studies.networks import AFTER, BEFORE, LAYERS, AllFeatures, FeatureMaps
from bundle.teachers.similarity import LinearCKA


@dataclass(frozen=True)
class LayerSimilarity:
    """CKA over all positions of some frames."""

    teachers: tuple[str, ...]  # Names
    # By ``BEFORE`` and ``AFTER``: student's layers, in the order of ``LAYERS``, by teachers ``(L, N)``
    students: Mapping[str, np.ndarray]
    between_teachers: np.ndarray  # ``(N, N)``


def layer_similarity(batches: Iterable[AllFeatures], grid_size: int) -> LayerSimilarity:
    """Compare every layer with every teacher.

    Raises:
        ValueError: If there is no batch.
    """
    cka = LinearCKA(grid_size)
    teachers: tuple[str, ...] = ()
    for batch in batches:
        teachers = tuple(batch.teachers)
        layers = {f"{name} {layer}": value for name, maps in batch.students.items() for layer, value in maps.items()}
        cka.update({**batch.teachers, **layers})
    names, matrix = cka.compute()
    columns = [names.index(teacher) for teacher in teachers]

    def rows(wanted: Sequence[str]) -> np.ndarray:
        return matrix[[names.index(name) for name in wanted]][:, columns].numpy()

    return LayerSimilarity(
        teachers, {name: rows([f"{name} {layer}" for layer in LAYERS]) for name in (BEFORE, AFTER)}, rows(teachers)
    )


def draw_similarity(found: Mapping[str, LayerSimilarity], titles: Mapping[str, str]) -> Figure:
    """Heat maps: a row per domain; columns: before, after, and the teachers among themselves."""
    figure = Figure(figsize=(9.4, 0.6 + 2.5 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 3, squeeze=False)
    for row, (domain, similarity) in zip(panels, found.items(), strict=True):
        columns = [titles[name] for name in similarity.teachers]
        heads = [f"student {BEFORE} distillation", f"student {AFTER} distillation", "teachers among themselves"]
        values = [similarity.students[BEFORE], similarity.students[AFTER], similarity.between_teachers]
        for axes, head, matrix, labels in zip(row, heads, values, [LAYERS, LAYERS, columns], strict=True):
            image = _draw_matrix(axes, matrix, labels, columns)
            axes.set_title(head if axes in panels[0] else "", fontsize=9)
        row[0].set_ylabel(f"{domain} domain", fontsize=9)
    bar = figure.colorbar(image, ax=panels, shrink=0.6, pad=0.02)
    bar.set_label("linear CKA (1: alike up to rotation and scale)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def similarity_table(found: Mapping[str, LayerSimilarity], titles: Mapping[str, str]) -> str:
    """Markdown: a row per layer and domain, ``before → after`` per teacher."""
    teachers = next(iter(found.values())).teachers
    lines = [
        f"| domain | layer | {' | '.join(titles[name] for name in teachers)} |",
        "|---|---|" + "---:|" * len(teachers),
    ]
    for domain, similarity in found.items():
        pairs = zip(LAYERS, similarity.students[BEFORE], similarity.students[AFTER], strict=True)
        for layer, before, after in pairs:
            cells = [f"{old:.2f} → {new:.2f}" for old, new in zip(before, after, strict=True)]
            lines.append(f"| {domain} | {layer} | {' | '.join(cells)} |")
    for domain, similarity in found.items():
        for name, values in zip(teachers, similarity.between_teachers, strict=True):
            lines.append(f"| {domain} | {titles[name]} | {' | '.join(f'{value:.2f}' for value in values)} |")
    return "\n".join(lines)


def similarity_in_words(similarity: LayerSimilarity, titles: Mapping[str, str]) -> str:
    """What the numbers say, before → after: the embedding by teacher, then every layer in the mean of the teachers."""
    before, after = similarity.students[BEFORE], similarity.students[AFTER]
    teachers = [
        f"{titles[name]} {old:.2f} → {new:.2f}"
        for name, old, new in zip(similarity.teachers, before[-1], after[-1], strict=True)
    ]
    layers = [
        f"{layer} {old:.2f} → {new:.2f}"
        for layer, old, new in zip(LAYERS, before.mean(axis=1), after.mean(axis=1), strict=True)
    ]
    fell = int((after < before).sum())
    return (
        f"the embedding: {', '.join(teachers)}. In the mean of the teachers: {', '.join(layers)}. Of {after.size} "
        f"pairs of a layer and a teacher, {after.size - fell} became more alike and {fell} less."
    )


def differences_only(batches: Sequence[AllFeatures]) -> list[AllFeatures]:
    """Features less their mean over all frames at the same position: what tells one frame from another."""

    def centered(maps: Sequence[FeatureMaps]) -> list[FeatureMaps]:
        means = {name: torch.cat([one[name] for one in maps]).mean(dim=0) for name in maps[0]}
        return [{name: value - means[name] for name, value in one.items()} for one in maps]

    teachers = centered([batch.teachers for batch in batches])
    students = {name: centered([batch.students[name] for batch in batches]) for name in batches[0].students}
    return [
        AllFeatures(teacher, {name: maps[index] for name, maps in students.items()})
        for index, teacher in enumerate(teachers)
    ]


def _draw_matrix(axes: Axes, matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> AxesImage:
    image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            ink = "black" if value > 0.55 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image
