"""Masks of a volume: what a box is, what is asked of a segmenter with it, and the ellipsoid that fills it."""

import math

import pytest
import torch

from bundle.laboratory.studies.volume_masks import VolumeBox, asked_by_box, carried, ellipsoid, volume_dice
from bundle.segmentation.segmenter import Segmenter
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk


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


def disc(radii, size=40):
    """A disc whose middle moves a pixel from slice to slice; none where the radius is 0: ``(Z, 1, size, size)``."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([((y - 18) ** 2 + (x - 14 - z) ** 2 < r**2)[None] for z, r in enumerate(radii)])


def sees(label, asked):
    """An answer that is perfect inside its box, and notes which box it got in which slice."""

    def answer(index, box):
        asked[index] = left, top, right, bottom = box.tolist()
        y, x = torch.meshgrid(torch.arange(label.shape[2]), torch.arange(label.shape[3]), indexing="ij")
        return label[index, 0] & (x >= left) & (x <= right) & (y >= top) & (y <= bottom)

    return answer


def test_what_is_carried_from_the_middle_slice_finds_a_moving_disc_and_stops_where_it_ends():
    label, asked = disc([0, 0, 8, 8, 9, 9, 8, 8, 0, 0]), {}
    assert torch.equal(carried(sees(label, asked), label, margin=0.2), label)
    assert sorted(asked) == [1, 2, 3, 4, 5, 6, 7, 8]  # of each empty side, the first slice alone
    assert asked[5] == VolumeBox.around(label[5:6]).boxes()[0].tolist() == [11, 10, 27, 26]  # without a margin
    assert asked[6] == pytest.approx([11 - 0.2 * 17, 10 - 0.2 * 17, 27 + 0.2 * 17, 26 + 0.2 * 17])


def test_without_a_margin_what_moves_is_lost_in_part():
    label = disc([8] * 7)
    assert volume_dice(carried(sees(label, {}), label, margin=0.0), label) < 0.97
    assert volume_dice(carried(sees(label, {}), label), label) == 1.0


def test_a_carried_box_ends_with_the_slice_and_only_the_middle_mask_is_looked_at():
    label, asked = disc([8] * 5), {}
    only = torch.zeros_like(label)
    only[2] = label[2]
    whole = lambda index, box: asked.update({index: box.tolist()}) or torch.ones(40, 40, dtype=torch.bool)  # noqa: E731
    assert carried(whole, only).all()
    assert asked[0] == asked[4] == [0, 0, 39, 39]
    with pytest.raises(ValueError, match="an empty mask has no middle slice"):
        carried(whole, torch.zeros_like(label))
