"""The recipes' parts against values worked out by hand."""

import math

import pytest
import torch

from bundle.laboratory.recipes.frames import cells_of, draw_crops, look_up, probe_patches, take_crops
from bundle.laboratory.recipes.image_text import Statement, agreement_of, balanced_cross_entropy
from bundle.laboratory.recipes.promptable import draw_prompts
from bundle.laboratory.recipes.self_distillation import sinkhorn


def _mask():
    mask = torch.zeros(1, 16, 16)
    mask[0, 3:7, 5:12] = 1  # rows 3..6, columns 5..11
    return mask


def test_an_exact_box_has_the_corner_pixels_as_column_and_row():
    box, _, labels = draw_prompts(_mask(), None)
    assert box.tolist() == [[[5, 3], [11, 6]]]
    assert labels.tolist() == [[2, 3, -1]]  # SAM's labels of the corners; the point is ignored


def test_a_drawn_point_lies_inside_the_mask():
    _, point, _ = draw_prompts(_mask().expand(50, -1, -1), torch.Generator().manual_seed(0))
    columns, rows = point[:, 0].long().unbind(1)
    assert _mask()[0, rows, columns].all()


def test_sinkhorn_shares_the_prototypes_out_equally():
    assigned = sinkhorn(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), rounds=30)
    torch.testing.assert_close(assigned.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(assigned.sum(dim=0), torch.full((8,), 8.0), rtol=1e-3, atol=1e-3)


def test_the_whole_frame_is_a_crop_of_itself():
    image = torch.rand(2, 1, 12, 12)
    whole = torch.tensor([[1.0, 0.0, 0.0]]).expand(2, -1)
    torch.testing.assert_close(take_crops(image, whole, 12), image)


def test_crops_lie_inside_the_frame_and_have_the_area_asked_for():
    crops = draw_crops(200, (0.2, 0.5), torch.Generator().manual_seed(0))
    assert (crops[:, 1:].abs() + crops[:, :1] <= 1 + 1e-6).all()
    assert crops[:, 0].square().min() >= 0.2 - 1e-6
    assert crops[:, 0].square().max() <= 0.5 + 1e-6


def test_another_view_is_looked_up_at_the_same_place_of_the_frame():
    right_half = torch.tensor([[0.5, 0.5, 0.0]])  # columns 0..1 of the frame's [-1, 1]
    whole = torch.tensor([[1.0, 0.0, 0.0]])
    columns = (torch.arange(8) + 0.5) / 4 - 1  # where each column of the whole frame is
    features = columns.expand(1, 1, 8, 8)
    found, is_shared = look_up(features, right_half, whole)
    expected = (torch.arange(8) + 0.5) / 8  # the right half's columns lie at 1/16, 3/16 ... of the frame
    torch.testing.assert_close(found[0, 0, :-1, 0], expected[:-1])
    assert is_shared.all()
    _, is_shared = look_up(features, whole, right_half)
    assert is_shared.sum() == 4 * 4  # columns 4..7 and the middle rows


def test_agreement_is_the_share_of_true_statements():
    report = [Statement("bolus", "present", "a"), Statement("residue", "absent", "b")]
    findings = [{"bolus": "present", "residue": "absent"}, {"bolus": "present", "residue": "present"}]
    assert agreement_of([report, report[:1]], findings).tolist() == [[1.0, 1.0], [0.5, 1.0]]


def test_features_that_hold_the_answer_are_probed_perfectly(frames):
    class Oracle:
        input_size, mean, std = 64, (0.0,) * 3, (1.0,) * 3

        def __init__(self, answers):
            self.answers = iter(answers)

        def __call__(self, images):
            label = next(self.answers)
            return (torch.nn.functional.interpolate(label, (4, 4), mode="area") >= 0.3).float()

    training, held_out = frames.split(1)
    answers = [part.take(range(len(part))).label for part in (training.every(4), held_out)]
    measured = probe_patches(Oracle(answers), training, held_out)
    assert measured["patch_probe_average_precision"] > 0.95


def test_a_rare_value_weighs_as_much_as_a_common_one():
    logits = torch.tensor([[0.0, 0.0]] * 3 + [[2.0, 0.0]])  # three common frames undecided, the rare one read wrongly
    expected = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert balanced_cross_entropy(logits, torch.tensor([0, 0, 0, 1])).item() == pytest.approx(expected)


def test_patches_of_a_crop_know_their_cell_of_the_frame():
    whole = torch.tensor([[1.0, 0.0, 0.0]])
    assert cells_of(whole, 4, 4).tolist() == [list(range(16))]
    lower_right_quarter = torch.tensor([[0.5, 0.5, 0.5]])
    assert cells_of(lower_right_quarter, 2, 4).tolist() == [[10, 11, 14, 15]]
