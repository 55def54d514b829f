"""Change over time: none of what stands still, all of what comes and goes, and only beyond the truth's own."""

import pytest
import torch

from bundle.laboratory.flicker import area_flicker, flicker, frame_change


def clip(*columns: slice) -> torch.Tensor:  # one structure in 4 x 8 pixels -> (T, 1, 4, 8)
    masks = torch.zeros(len(columns), 1, 4, 8, dtype=torch.bool)
    for frame, where in enumerate(columns):
        masks[frame, 0, :, where] = True
    return masks


NOTHING = slice(0, 0)
STILL = clip(slice(0, 4), slice(0, 4), slice(0, 4))
MOVING = clip(slice(0, 4), slice(1, 5), slice(2, 6))  # a quarter of the mask leaves with every frame
BLINKING = clip(slice(0, 4), NOTHING, slice(0, 4))


def test_change_is_one_minus_the_dice_of_neighbors():
    assert frame_change(STILL)[:, 0].tolist() == [0, 0]
    assert frame_change(MOVING)[:, 0].tolist() == [0.25, 0.25]
    assert frame_change(BLINKING)[:, 0].tolist() == [1, 1]
    assert frame_change(clip(NOTHING, NOTHING))[:, 0].tolist() == [0]


def test_what_moves_with_the_truth_does_not_flicker():
    assert flicker(MOVING, MOVING).tolist() == [0]
    shifted = MOVING.roll(1, dims=-1)  # wrong everywhere in the same way
    assert flicker(shifted, MOVING).tolist() == [0]


def test_what_blinks_flickers_and_what_is_repeated_does_less_than_nothing():
    assert flicker(BLINKING, STILL).tolist() == [1]
    assert flicker(STILL, MOVING).tolist() == [-0.25]


def test_a_structure_that_is_nowhere_has_no_flicker_and_one_that_is_made_up_has():
    nowhere = clip(NOTHING, NOTHING, NOTHING)
    assert flicker(nowhere, nowhere).isnan().all()
    assert flicker(BLINKING, nowhere).tolist() == [1]


def test_area_flicker_is_the_error_of_the_areas_change():
    assert area_flicker(MOVING, STILL).tolist() == [0], "the area does not change"
    growing = clip(slice(0, 4), slice(0, 5), slice(0, 6))  # by a quarter of the true area in every frame
    assert area_flicker(growing, STILL).tolist() == [0.25]
    assert area_flicker(growing, growing).tolist() == [0]
    assert area_flicker(growing, clip(NOTHING, NOTHING, NOTHING)).isnan().all()


def test_one_frame_has_no_change_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="two frames or more"):
        frame_change(STILL[:1])
    with pytest.raises(ValueError, match="two frames or more"):
        area_flicker(STILL[:1], STILL[:1])
    with pytest.raises(ValueError, match="on one grid"):
        flicker(STILL, STILL[:2])
