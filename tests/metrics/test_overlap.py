"""Dice: hand-worked values and the rule for empty masks."""

import pytest
import torch

from bundle.metrics.overlap import dice


def masks(*rows: list[int]) -> torch.Tensor:
    """One structure in one frame, drawn row by row."""
    return torch.tensor(rows)[None, None]


def test_dice_is_twice_the_overlap_over_both_areas():
    pred = masks([1, 1, 0, 0], [1, 1, 0, 0])  # 4 pixels
    label = masks([0, 1, 1, 0], [0, 0, 0, 0])  # 2 pixels, 1 shared
    assert dice(pred, label).item() == pytest.approx(2 * 1 / (4 + 2))


def test_a_missed_structure_scores_zero():
    assert dice(masks([0, 0]), masks([1, 0])).item() == 0.0


@pytest.mark.parametrize("predicted", [0, 1])
def test_a_structure_absent_from_the_label_has_no_dice_whatever_is_predicted(predicted):
    assert dice(masks([predicted, 0]), masks([0, 0])).isnan().item()


def test_every_structure_of_every_frame_has_its_own_value():
    label = torch.zeros(2, 3, 4, 4)
    label[..., :2, :2] = 1
    pred = label.clone()
    pred[1, 2] = 0
    torch.testing.assert_close(dice(pred, label), torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]))


def test_probabilities_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"pred must hold 0 and 1 only.*threshold it first"):
        dice(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2))


def test_masks_on_different_grids_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"one grid, got \(1, 1, 2, 2\) and \(1, 1, 4, 4\)"):
        dice(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 4, 4))
