"""The student's layers against the teachers: values where they are known, and what the words and the table say."""

import numpy as np
import pytest
import torch

from bundle.laboratory.studies.layer_similarity import (
    LayerSimilarity,
    differences_only,
    draw_similarity,
    layer_similarity,
    similarity_in_words,
    similarity_table,
)
from bundle.laboratory.studies.networks import AFTER, BEFORE, LAYERS, AllFeatures

TITLES = {"one": "One", "two": "Two"}


def noise(seed: int, channels: int = 3, frames: int = 40) -> torch.Tensor:
    return torch.randn(frames, channels, 4, 4, generator=torch.Generator().manual_seed(seed))


def features_of(teachers: dict, before: dict, after: dict) -> AllFeatures:
    return AllFeatures(teachers, {BEFORE: before, AFTER: after})


@pytest.fixture
def batch() -> AllFeatures:
    """Before, every layer is noise of its own; after, the embedding is the first teacher, twice as large."""
    teachers = {"one": noise(0), "two": noise(1)}
    before = {layer: noise(10 + number) for number, layer in enumerate(LAYERS)}
    after = {layer: noise(20 + number) for number, layer in enumerate(LAYERS)} | {"embedding": 2 * teachers["one"]}
    return features_of(teachers, before, after)


def test_a_layer_that_copies_a_teacher_has_cka_1_with_it_alone(batch):
    found = layer_similarity([batch], grid_size=4)
    assert found.students[AFTER].shape == (len(LAYERS), 2)
    assert found.students[AFTER][-1, 0] == pytest.approx(1.0)
    assert max(found.students[AFTER][-1, 1], found.students[BEFORE].max()) < 0.1
    np.testing.assert_allclose(np.diag(found.between_teachers), 1.0)


def test_batches_change_nothing(batch):
    halves = [
        features_of(
            *(
                {name: value[half] for name, value in maps.items()}
                for maps in (batch.teachers, batch.students[BEFORE], batch.students[AFTER])
            )
        )
        for half in (slice(0, 15), slice(15, None))
    ]
    for prepare in (list, differences_only):
        whole, parts = (layer_similarity(prepare(batches), 4) for batches in ([batch], halves))
        np.testing.assert_allclose(whole.students[AFTER], parts.students[AFTER], atol=1e-6)


def test_what_all_frames_share_at_a_position_counts_until_it_is_subtracted(batch):
    shared = 5 * torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(99))
    teachers = {name: value + shared for name, value in batch.teachers.items()}
    biased = features_of(teachers, {k: v + shared for k, v in batch.students[BEFORE].items()}, batch.students[AFTER])
    assert layer_similarity([biased], 4).students[BEFORE].min() > 0.7
    assert layer_similarity(differences_only([biased]), 4).students[BEFORE].max() < 0.1


def test_words_and_table_give_both_values_and_count_what_fell():
    before, after = np.full((len(LAYERS), 2), 0.5), np.full((len(LAYERS), 2), 0.6)
    after[0, 1] = 0.25
    found = LayerSimilarity(("one", "two"), {BEFORE: before, AFTER: after}, np.eye(2))
    words = similarity_in_words(found, TITLES)
    assert "One 0.50 → 0.60" in words
    assert "Of 10 pairs of a layer and a teacher, 9 became more alike and 1 less." in words
    table = similarity_table({"hard": found}, TITLES).splitlines()
    assert table[2] == "| hard | stride 4 | 0.50 → 0.60 | 0.50 → 0.25 |"
    assert table[-1] == "| hard | Two | 0.00 | 1.00 |"


def test_the_figure_has_a_row_per_domain_and_writes_every_value():
    values = np.linspace(0, 1, 2 * len(LAYERS)).reshape(len(LAYERS), 2)
    found = LayerSimilarity(("one", "two"), {BEFORE: values, AFTER: values[::-1]}, np.eye(2))
    figure = draw_similarity({"standard": found, "hard": found}, TITLES)
    panels = figure.axes[:6]
    assert [len(axes.texts) for axes in panels] == [10, 10, 4] * 2
    assert [text.get_text() for text in panels[0].texts] == [f"{value:.2f}" for value in values.ravel()]
