"""The frozen probe: it finds what features hold, and nothing where they hold nothing."""

import pytest
import torch

from bundle.laboratory.studies.probe import GRID, cell_dice, coverage, position_features, probe, student_features
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk


def squares(num_films=8):
    """Masks of two structures, at another place in every film, on 64 x 64 pixels."""
    masks = torch.zeros(num_films, 2, 64, 64)
    for film in range(num_films):
        masks[film, 0, 8 * (film % 4) :][:24, 10:40] = 1
        masks[film, 1, 20:50, 6 * (film % 5) :][:, :20] = 1
    return masks


def test_features_that_hold_the_truth_linearly_give_it_and_noise_does_not():
    truth = coverage(squares())
    torch.manual_seed(0)
    noise = torch.randn(8, GRID**2, 6)
    knowing = torch.cat([noise, 3 - 50 * truth @ torch.tensor([[1.0, 0.5], [0.2, 1.0]])], dim=2)
    assert probe(knowing, truth, range(4), range(4, 8)).min() > 0.98
    assert probe(noise, truth, range(4), range(4, 8)).max() < 0.6


def test_position_knows_the_mean_place():
    still = coverage(squares(1).expand(6, -1, -1, -1))
    found = probe(position_features(6), still, range(3), range(3, 6))
    assert found.min() > 0.7


def test_the_tested_films_labels_are_not_learned_from():
    truth, features = coverage(squares()), torch.randn(8, GRID**2, 4, generator=torch.Generator().manual_seed(1))
    other = truth.clone()
    other[4:] = 0
    other[4:, 0] = 1
    features[:, :, 0] += truth[:, :, 0]
    seen, unseen = (probe(features, known, range(4), range(4)) for known in (truth, other))
    assert torch.equal(seen, unseen)


def test_dice_by_hand_and_none_where_nothing_is():
    truth = torch.tensor([[[0.9, 0.0], [0.6, 0.0], [0.4, 0.0]]])
    predicted = torch.tensor([[[True, True], [False, False], [False, False]]])
    found = cell_dice(predicted, truth)
    assert found[0, 0] == pytest.approx(2 / 3)
    assert found[0, 1].isnan()


def test_one_labeled_film_is_too_few():
    with pytest.raises(ValueError, match="two labeled films or more, to leave one out, got 1"):
        probe(position_features(2), coverage(squares(2)), [0], [1])


def test_a_student_gives_both_maps_on_the_grid():
    student = StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=32)
    assert student_features(student, torch.rand(3, 1, 64, 64)).shape == (3, GRID**2, 64)
