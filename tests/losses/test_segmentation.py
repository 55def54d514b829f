"""Phase 2 losses: masks, IoU estimate, presence; automatic and prompted."""

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.losses import FocalLoss

from bundle.losses.segmentation import MaskLoss, SegmentationLoss, iou_loss, match_grid

SURE = 20.0  # a logit whose sigmoid is 1 to eight digits


def square(present=True):
    """A 4 × 4 mask of the middle 2 × 2 pixels, (1, 1, 4, 4)."""
    label = torch.zeros(1, 1, 4, 4)
    label[..., 1:3, 1:3] = float(present)
    return label


def logits_of(label):
    return (2 * label - 1) * SURE


def everywhere(label):
    return torch.ones(label.shape[0], 1, *label.shape[2:])


def make_batch(num_structures=3, size=8):
    torch.manual_seed(0)
    label = (torch.rand(2, num_structures, size, size) > 0.6).float()
    label[0, 0] = 0  # absent
    pred = {
        "masks": torch.randn(2, num_structures, size, size),
        "iou": torch.rand(2, num_structures),
        "presence": torch.randn(2, num_structures),
    }
    return pred, {"label": label, "valid": torch.ones(2, 1, size, size)}


def with_prompt(pred, target, num_candidates=3):
    pred["prompted"] = {"masks": torch.randn(2, num_candidates, 8, 8), "iou": torch.rand(2, num_candidates)}
    target["prompted_label"] = target["label"][:, 1:2]
    return pred, target


# --- masks


def test_the_true_mask_has_no_loss():
    assert MaskLoss()(logits_of(square()), square(), everywhere(square())).item() == pytest.approx(0.0, abs=1e-6)


def test_half_the_square_costs_what_a_hand_finds():
    pred = torch.zeros(1, 1, 4, 4)
    pred[..., 1:3, 1:2] = 1  # 2 of 4 pixels: Dice = 2 * 2 / (2 + 4)
    loss = MaskLoss(pixel_weight=0.0)(logits_of(pred), square(), everywhere(square()))
    assert loss.item() == pytest.approx(1 - 4 / 6, abs=1e-4)
    loss = MaskLoss(dice_weight=0.0)(torch.zeros(1, 1, 4, 4), square(), everywhere(square()))
    assert loss.item() == pytest.approx(math.log(2))


def test_many_masks_cost_what_numpy_finds_one_by_one():
    pred, target = make_batch()
    probabilities = 1 / (1 + np.exp(-pred["masks"].double().numpy()))
    cross_entropies, dices = [], []
    for probability, label in zip(probabilities.reshape(-1, 64), target["label"].numpy().reshape(-1, 64), strict=True):
        cross_entropies.append(-np.log(np.where(label == 1, probability, 1 - probability)).mean())
        if label.any():
            dices.append(2 * probability[label == 1].sum() / (probability.sum() + label.sum()))
    expected = np.mean(cross_entropies) + 1 - np.mean(dices)
    assert len(dices) == 5  # of 6: one structure is absent
    assert MaskLoss()(*pred_label_valid(pred, target)).item() == pytest.approx(expected, rel=1e-5)


def test_an_absent_structure_is_taught_by_its_pixels_and_has_no_dice():
    label = torch.cat([square(), square(present=False)], dim=1)
    right, wrong = logits_of(label), logits_of(torch.cat([square(), square()], dim=1))
    dice_only = MaskLoss(pixel_weight=0.0)
    assert dice_only(wrong, label, everywhere(label)).item() == pytest.approx(0.0, abs=1e-4)
    assert MaskLoss()(wrong, label, everywhere(label)) > MaskLoss()(right, label, everywhere(label)) + 1


def test_with_no_structure_at_all_the_loss_and_its_gradient_are_finite():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    label = torch.zeros(1, 2, 4, 4)
    loss = MaskLoss()(logits, label, everywhere(label))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("size", [8, 16], ids=["same grid", "finer label"])
def test_padding_has_no_effect(size):
    torch.manual_seed(0)
    logits, label = torch.randn(1, 2, 8, 8), (torch.rand(1, 2, size, size) > 0.5).float()
    valid = torch.ones(1, 1, size, size)
    valid[..., size // 2 :] = 0
    changed_logits, changed_label = logits.clone(), label.clone()
    changed_logits[..., 4:], changed_label[..., size // 2 :] = 30.0, 1.0
    loss, changed = MaskLoss()(logits, label, valid), MaskLoss()(changed_logits, changed_label, valid)
    torch.testing.assert_close(loss, changed)
    cropped = MaskLoss()(logits[..., :4], label[..., : size // 2], valid[..., : size // 2])
    torch.testing.assert_close(loss, cropped)


def test_a_structure_that_only_the_padding_holds_is_absent():
    label, valid = square(), everywhere(square())
    valid[..., 1:, :] = 0
    assert MaskLoss(pixel_weight=0.0)(logits_of(label), label, valid).item() == 0.0


def test_a_finer_label_is_averaged_over_each_cell():
    label = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])[None, None]
    small, _ = match_grid(label, everywhere(label), torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(small[0, 0], torch.tensor([[0.75, 0.0], [0.0, 0.5]]))


def test_padding_does_not_dilute_a_label_on_its_edge():
    label = torch.zeros(1, 1, 2, 2)
    label[..., 0] = 1.0
    small, coverage = match_grid(label, label, torch.zeros(1, 1, 1, 1))
    assert (small.item(), coverage.item()) == (1.0, 0.5)


def test_a_prediction_equal_to_a_soft_label_has_no_dice_loss():
    label = torch.full((1, 1, 4, 4), 0.3)
    loss = MaskLoss(pixel_weight=0.0)(torch.logit(label), label, everywhere(label))
    assert loss.item() == pytest.approx(0.0, abs=1e-5)


def test_monai_tensors_with_metadata_give_the_same_plain_loss():
    pred, target = make_batch()
    wrapped = [{name: MetaTensor(value) for name, value in entries.items()} for entries in (pred, target)]
    loss = SegmentationLoss()(*wrapped)
    assert type(loss) is torch.Tensor
    assert torch.equal(loss, SegmentationLoss()(pred, target))


def test_integer_labels_serve_as_well():
    pred, target = make_batch()
    as_bytes = {"label": target["label"].byte(), "valid": target["valid"].bool()}
    assert torch.equal(SegmentationLoss()(pred, as_bytes), SegmentationLoss()(pred, target))


def test_the_pixel_loss_can_be_replaced_by_focal_loss():
    pred, target = make_batch()
    loss = MaskLoss(FocalLoss(reduction="none", gamma=2.0), dice_weight=0.0)(*pred_label_valid(pred, target))
    probability = pred["masks"].sigmoid()
    right = torch.where(target["label"] == 1, probability, 1 - probability)
    torch.testing.assert_close(loss, -((1 - right) ** 2 * right.log()).mean())


def pred_label_valid(pred, target):
    return pred["masks"], target["label"], target["valid"]


# --- IoU estimate and presence


def test_the_iou_estimate_is_compared_with_the_thresholded_mask():
    pred = torch.zeros(1, 1, 4, 4)
    pred[..., 1:3, 1:2] = 1  # intersection 2, union 4
    loss = iou_loss(torch.tensor([[0.8]]), logits_of(pred), square(), everywhere(square()))
    assert loss.item() == pytest.approx((0.8 - 0.5) ** 2)


def test_no_iou_is_taught_where_the_structure_is_absent():
    label = square(present=False)
    assert iou_loss(torch.tensor([[0.8]]), logits_of(square()), label, everywhere(label)).item() == 0.0


def test_the_iou_loss_gives_the_masks_no_gradient():
    pred, target = make_batch()
    pred["masks"].requires_grad_()
    pred["iou"].requires_grad_()
    SegmentationLoss(mask_weight=0.0)(pred, target).backward()
    assert pred["masks"].grad.abs().max() == 0
    assert pred["iou"].grad.abs().max() > 0


def test_presence_is_binary_cross_entropy_against_whether_the_label_has_a_pixel():
    label = torch.cat([square(), square(present=False)], dim=1)
    pred = {"masks": logits_of(label), "iou": torch.ones(1, 2), "presence": torch.tensor([[1.0, 1.0]])}
    loss = SegmentationLoss()
    loss(pred, {"label": label, "valid": everywhere(label)})
    expected = (-math.log(1 / (1 + math.exp(-1))) - math.log(1 - 1 / (1 + math.exp(-1)))) / 2
    assert loss.latest["loss/presence"] == pytest.approx(expected)


# --- all together


def test_latest_holds_the_terms_that_the_total_weighs():
    loss = SegmentationLoss(mask_weight=2.0, iou_weight=0.5, presence_weight=0.25, prompted_weight=0.1)
    total = loss(*with_prompt(*make_batch())).item()
    terms = loss.latest
    assert set(terms) == {"loss/mask", "loss/iou", "loss/presence", "loss/prompted_mask", "loss/prompted_iou"}
    automatic = 2.0 * terms["loss/mask"] + 0.5 * terms["loss/iou"] + 0.25 * terms["loss/presence"]
    prompted = 2.0 * terms["loss/prompted_mask"] + 0.5 * terms["loss/prompted_iou"]
    assert total == pytest.approx(automatic + 0.1 * prompted, rel=1e-5)


def test_without_a_prompt_only_the_automatic_masks_count():
    loss = SegmentationLoss()
    loss(*make_batch())
    assert not [name for name in loss.latest if "prompted" in name]


def test_only_the_best_candidate_is_trained_and_every_iou_estimate():
    pred, target = with_prompt(*make_batch())
    pred["prompted"]["masks"][:, 2] = logits_of(target["prompted_label"][:, 0]) / 4
    pred["prompted"]["masks"].requires_grad_()
    pred["prompted"]["iou"].requires_grad_()
    SegmentationLoss()(pred, target).backward()
    gradients = pred["prompted"]["masks"].grad.abs().amax(dim=(0, 2, 3))
    assert (gradients > 0).tolist() == [False, False, True]
    assert (pred["prompted"]["iou"].grad.abs() > 0).all()


def test_a_prompt_for_an_absent_structure_is_taught_by_its_pixels_alone():
    pred, target = with_prompt(*make_batch())
    target["prompted_label"] = torch.zeros(2, 1, 8, 8)
    pred["prompted"]["masks"] = torch.full((2, 3, 8, 8), -1.0)
    loss = SegmentationLoss()
    loss(pred, target)
    assert loss.latest["loss/prompted_mask"] == pytest.approx(math.log(1 + math.exp(-1)))
    assert loss.latest["loss/prompted_iou"] == 0.0


def test_a_plain_network_without_iou_and_presence_is_served():
    pred, target = make_batch()
    loss = SegmentationLoss(iou_weight=0.0, presence_weight=0.0)
    total = loss({"masks": pred["masks"]}, target)
    torch.testing.assert_close(total, MaskLoss()(*pred_label_valid(pred, target)))


def test_autocast_does_not_lower_the_precision():
    batch = with_prompt(*make_batch())
    expected = SegmentationLoss()(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(SegmentationLoss()(*batch), expected)


# --- bad input


def test_a_missing_entry_is_named_with_its_remedy():
    pred, target = make_batch()
    del pred["presence"]
    with pytest.raises(ValueError, match=r"pred must hold .* without \['presence'\] needs their weight set to 0"):
        SegmentationLoss()(pred, target)


def test_shapes_that_do_not_belong_together_are_refused():
    pred, target = make_batch()
    with pytest.raises(ValueError, match=r"label \(2, 2, 8, 8\) must hold one mask per mask of pred \(2, 3, 8, 8\)"):
        SegmentationLoss()(pred, {**target, "label": target["label"][:, :2]})
    with pytest.raises(ValueError, match=r"valid must be \(2, 1, 8, 8\) like label, got \(2, 1, 4, 4\)"):
        SegmentationLoss()(pred, {**target, "valid": torch.ones(2, 1, 4, 4)})
    with pytest.raises(ValueError, match="must be at least as fine as the masks"):
        SegmentationLoss()(pred, {"label": target["label"][..., :4, :4], "valid": torch.ones(2, 1, 4, 4)})
