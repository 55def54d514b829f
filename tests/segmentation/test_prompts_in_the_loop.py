"""Masks of a teacher's frozen decoder as a second target of phase 1."""

import pytest
import torch

from bundle.losses.balance import Equal
from bundle.losses.distances import MeanSquared
from bundle.losses.distillation import DistillationLoss
from bundle.losses.standardize import GlobalScale
from bundle.segmentation.prompts_in_the_loop import PromptsInTheLoop, draw_boxes
from bundle.segmentation.segmenter import make_decoder
from bundle.segmentation.teacher_decoder import TeacherDecoder


def make_loss(**options) -> PromptsInTheLoop:
    torch.manual_seed(0)
    standardizer = GlobalScale(torch.ones(16), torch.tensor(2.0), torch.zeros(32, dtype=torch.uint8))
    distillation = DistillationLoss({"toy": standardizer}, MeanSquared(), Equal())
    decoder = TeacherDecoder(*make_decoder(16, grid_size=8, image_size=32, is_sam2=False))
    for hypernetwork in decoder.mask_decoder.output_hypernetworks_mlps:
        hypernetwork.layers[-1].weight.mul_(100)  # masks with clear outlines
    return PromptsInTheLoop(distillation, decoder, "toy", **options)


def make_batch(loss: PromptsInTheLoop, error: float):
    torch.manual_seed(1)
    features = torch.randn(3, 16, 8, 8)
    standardized = loss.distillation.standardizers["toy"](features)
    pred = (standardized + error * torch.randn(3, 16, 8, 8)).requires_grad_()
    target = {"features": {"toy": features}, "valid": {"toy": torch.ones(3, 1, 8, 8)}}
    return {"features": {"toy": pred}, "embedding": torch.zeros(3, 4, 2, 2)}, target


def test_masks_of_worse_features_are_farther_and_gradients_reach_the_student_alone():
    loss = make_loss(num_frames=2)
    distances = []
    for error in (0.0, 3.0):
        pred, target = make_batch(loss, error)
        loss(pred, target).backward()
        distances.append(loss.distillation.latest["loss/prompted_masks"])
    assert distances[0] < distances[1]
    gradient = pred["features"]["toy"].grad
    assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_boxes_lie_in_the_image():
    boxes = draw_boxes(1000, 256)
    assert boxes.min() >= 0
    assert boxes.max() <= 255
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 25


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        make_loss(weight=0)
