"""Masks of a volume: what a box is, what is asked of a segmenter with it, and the ellipsoid that fills it."""

import math

import pytest
import torch

from bundle.segmentation.segmenter import Segmenter
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.studies.volume_masks import VolumeBox, asked_by_box, ellipsoid, volume_dice


def test_a_mask_in_a_slice_without_the_lesion_counts_against_the_volume():
    label = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    label[0, 0, :2, :2] = True
    pred = label.clone()
    assert volume_dice(pred, label) == 1.0
    pred[1, 0, :2, :2] = True
    assert volume_dice(pred, label) == pytest.approx(2 * 4 / (8 + 4))


def test_a_box_is_the_smallest_that_holds_the_mask():
    mask = torch.zeros(6, 1, 8, 10, dtype=torch.bool)
    mask[1, 0, 3, 4] = mask[4, 0, 6, 2] = True
    assert VolumeBox.around(mask) == VolumeBox(slices=(1, 4), rows=(3, 6), columns=(2, 4))
    with pytest.raises(ValueError, match="an empty mask has no box"):
        VolumeBox.around(torch.zeros(2, 1, 4, 4, dtype=torch.bool))


def test_an_ellipsoid_fills_its_box_and_has_its_volume():
    box = VolumeBox(slices=(2, 21), rows=(5, 34), columns=(10, 49))
    mask = ellipsoid(box, (30, 50, 60))
    assert VolumeBox.around(mask) == box
    assert mask.sum() == pytest.approx(math.pi / 6 * 20 * 30 * 40, rel=0.01)


def test_a_segmenter_is_asked_in_the_slices_of_the_box_only_and_every_slice_for_itself():
    torch.manual_seed(0)
    segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), ["lesion"], image_size=32).eval()
    slices = torch.rand(4, 1, 24, 24)
    box = VolumeBox(slices=(1, 2), rows=(4, 12), columns=(6, 18))
    masks = asked_by_box(segmenter, slices, box, "lesion")
    assert masks.shape == slices.shape
    assert masks.dtype == torch.bool
    assert not masks[[0, 3]].any()
    alone = asked_by_box(segmenter, slices[2:3], VolumeBox((0, 0), box.rows, box.columns), "lesion")
    assert masks[1:3].any()
    assert torch.equal(alone[0], masks[2])
