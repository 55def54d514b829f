"""What the recipes' frames promise."""

import numpy as np
import pytest
import torch

from bundle.laboratory.recipes.frames import PhantomFrames, augment, make_frames, pack_masks
from bundle.laboratory.recipes.image_text import check_findings
from bundle.structures import STRUCTURES


def test_packed_masks_unpack_to_the_same_overlapping_masks():
    masks = np.random.default_rng(0).integers(0, 2, (3, len(STRUCTURES), 4, 4)).astype(np.uint8)
    frames = PhantomFrames(np.zeros((3, 4, 4), np.uint8), pack_masks(masks), np.arange(3), [{}] * 3)
    np.testing.assert_array_equal(frames.take([0, 1, 2]).label.numpy(), masks)


def test_the_same_seed_makes_the_same_frames(frames):
    again = make_frames(num_patients=1, frames_per_patient=3, size=64)
    np.testing.assert_array_equal(again.frames, frames.frames[:3])
    assert again.findings == frames.findings[:3]


def test_no_patient_is_both_trained_on_and_held_out(frames):
    training, held_out = frames.split(num_held_out=1)
    assert len(training) == 9
    assert len(held_out) == 3
    assert not set(training.patients) & set(held_out.patients)


def test_holding_out_everybody_is_refused(frames):
    with pytest.raises(ValueError, match="between 1 and 3 patients, got 4"):
        frames.split(num_held_out=4)


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one entry per frame, got 2, 2, 2, 1"):
        PhantomFrames(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), np.zeros(2), [{}])


def test_every_frame_has_a_wording_for_each_of_its_findings(frames):
    for findings in frames.findings:
        check_findings(findings)


def test_frames_survive_saving(frames, tmp_path):
    frames.save(tmp_path / "frames.npz")
    loaded = PhantomFrames.load(tmp_path / "frames.npz")
    np.testing.assert_array_equal(loaded.masks, frames.masks)
    assert loaded.findings == frames.findings


def test_augmenting_moves_masks_with_the_frame():
    image = torch.zeros(8, 1, 32, 32)
    image[:, :, 8:20, 10:22] = 1
    moved, label = augment(image, image.clone(), torch.Generator().manual_seed(0))
    inside = (moved * label).sum(dim=(1, 2, 3)) / label.sum(dim=(1, 2, 3))
    outside = (moved * (1 - label)).sum(dim=(1, 2, 3)) / (1 - label).sum(dim=(1, 2, 3))
    assert (inside > outside + 0.5).all()
    assert not torch.equal(label, image)


def test_the_same_generator_state_augments_alike(frames):
    batch = frames.take([0, 1])
    first, second = (augment(batch.image, batch.label, torch.Generator().manual_seed(5))[0] for _ in range(2))
    torch.testing.assert_close(first, second)
