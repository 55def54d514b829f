"""Structures as points: averages under masks, the nearest point of another patient, and the picture."""

import numpy as np
import pytest
import torch

from bundle.laboratory.studies.feature_space import (
    StructurePoints,
    chance_share,
    draw_embeddings,
    nearest_share,
    nearest_table,
    structure_points,
)
from bundle.structures import STRUCTURES


def test_a_point_is_the_average_of_the_features_under_the_mask():
    features = torch.arange(4.0).reshape(1, 1, 2, 2).repeat(2, 1, 1, 1)
    masks = torch.zeros(2, 3, 4, 4, dtype=torch.bool)
    masks[0, 0, :2, :2] = True  # the first position: 0
    masks[0, 1, :, 2:] = True  # the second and the fourth: 2
    masks[1, 1, 1:3, 1:3] = True  # a quarter of each: 1.5; the third structure is nowhere
    found = structure_points([features[:1], features[1:]], masks, np.array([7, 8]))
    assert found.structures.tolist() == [0, 1, 1]
    assert found.patients.tolist() == [7, 7, 8]
    raw = np.array([0.0, 2.0, 1.5])
    np.testing.assert_allclose(found.points[:, 0], (raw - raw.mean()) / raw.std(ddof=1), rtol=1e-5)


def test_features_of_other_frames_are_refused():
    with pytest.raises(ValueError, match="of the same frames, got 1 and 2"):
        structure_points([torch.zeros(1, 1, 2, 2)], torch.zeros(2, 3, 4, 4, dtype=torch.bool), np.arange(2))


def test_the_nearest_point_is_sought_in_other_patients_alone():
    points = np.array([[0.0], [0.1], [1.0], [5.0]], np.float32)
    structures, patients = np.array([0, 1, 0, 1]), np.array([1, 1, 2, 2])
    # 0 -> 1.0 (alike), 0.1 -> 1.0 (not), 1.0 -> 0.1 (not), 5.0 -> 0.1 (alike)
    assert nearest_share(StructurePoints(points, structures, patients)) == 0.5
    assert chance_share(StructurePoints(points, structures, patients)) == 0.5


def test_the_table_has_a_column_per_domain_and_ends_with_chance():
    found = StructurePoints(np.array([[0.0], [0.1], [9.0]], np.float32), np.array([0, 0, 1]), np.array([1, 2, 3]))
    lines = nearest_table({"standard": {"net": found}, "hard": {"net": found}}).splitlines()
    assert lines[0] == "| features | standard domain | hard domain |"
    assert lines[-2:] == ["| net | 67% | 67% |", "| chance | 56% | 56% |"]


def test_the_figure_has_a_panel_per_network_and_a_mark_per_structure():
    random = np.random.default_rng(0)
    structures = np.tile(np.arange(len(STRUCTURES)), 2)
    found = StructurePoints(
        random.normal(size=(24, 4)).astype(np.float32) + structures[:, None], structures, np.repeat([1, 2], 12)
    )
    first, second = (draw_embeddings({"a": found, "b": found, "c": found}) for _ in range(2))
    panels = first.axes
    assert [len(axes.collections) for axes in panels] == [12, 12, 12, 0]
    assert panels[0].get_title().startswith("a\nsame structure nearest: ")
    looks = {(tuple(mark.get_facecolor()[0]), len(mark.get_paths()[0])) for mark in panels[0].collections}
    assert len(looks) == len(STRUCTURES)
    assert len(panels[-1].get_legend().get_texts()) == len(STRUCTURES)
    for one, other in zip(panels[0].collections, second.axes[0].collections, strict=True):
        np.testing.assert_array_equal(one.get_offsets(), other.get_offsets())
