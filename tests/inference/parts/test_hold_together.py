"""Masks of a film held together, streamed: the same however they come, and nothing appears where nothing was."""

import numpy as np
import pytest

from bundle.inference.parts.hold_together import HoldTogether

STRUCTURES = ("hyoid", "pharynx", "implant")


def film_of(num_frames: int) -> np.ndarray:
    """In each structure a ring that moves, a square that is larger in frames 4 and 5, and a speck."""
    masks = np.zeros((num_frames, 3, 64, 64), bool)
    for frame in range(num_frames):
        masks[frame, :, 10:20, 10 + frame : 20 + frame] = True
        masks[frame, :, 13:16, 14 + frame : 16 + frame] = False
        side = 11 if frame in (4, 5) else 5
        masks[frame, :, 40 : 40 + side, 40 : 40 + side] = True
        masks[frame, :, 60, 60] = True
    return masks


def test_one_body_is_one_part_in_its_place_and_without_holes():
    held = HoldTogether(STRUCTURES, least_share=4 / 64**2)(film_of(10))
    expected = np.zeros_like(held[:, 0])
    for frame in range(10):
        expected[frame, 10:20, 10 + frame : 20 + frame] = True
    np.testing.assert_array_equal(held[:, 0], expected)


def test_what_comes_in_pieces_keeps_them_even_the_smallest_but_for_holes():
    held = HoldTogether(STRUCTURES, least_share=4 / 64**2)(film_of(10))
    assert held[:, 1, 40:45, 40:45].all()
    assert held[3, 1, 13:16, 17:19].all()
    assert held[:, 1, 60, 60].all()
    assert not held[:, 0, 60, 60].any()


def test_a_structure_that_a_site_has_named_is_left_alone():
    held = HoldTogether(STRUCTURES, least_share=4 / 64**2)(film_of(10))
    np.testing.assert_array_equal(held[:, 2], film_of(10)[:, 2])


def test_an_absent_structure_stays_absent():
    masks = film_of(6)
    masks[2:4, 0] = masks[5, 0] = False
    held = HoldTogether(STRUCTURES)(masks)
    assert held[:, 0].any(axis=(1, 2)).tolist() == [True, True, False, False, True, False]


@pytest.mark.parametrize("look_ahead", [0, 3, 100])
def test_frames_come_in_order_and_never_later_than_the_look_ahead(look_ahead):
    hold, masks = HoldTogether(STRUCTURES, look_ahead=look_ahead), film_of(10)
    film, came = hold.begin(), []
    for number, frame in enumerate(masks):
        came += film.add(frame)
        assert len(came) == max(0, number - look_ahead)
    came += film.finish()
    moved = [int(np.flatnonzero(frame[0].any(axis=0))[0]) for frame in came]
    assert [column for column in moved if column < 40] == [10 + t for t in range(10) if moved[t] < 40]
    assert len(came) == 10


def test_with_a_look_ahead_past_the_film_it_is_decided_as_a_whole():
    """At the film's start the larger square would be taken; the future says that the ring goes on."""
    masks = film_of(20)[4:]
    masks[2:, 0, 40:45] = False
    seen, blind = (HoldTogether(STRUCTURES, look_ahead=frames)(masks.copy())[:, 0] for frames in (30, 0))
    assert not seen[:, 40:, 40:].any()
    assert blind[0, 40:51, 40:51].all()


def test_settings_and_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"least_share must be in \[0, 1\) and look_ahead 0 or more, got 2 and 30"):
        HoldTogether(STRUCTURES, least_share=2)
    with pytest.raises(ValueError, match=r"one per structure .'hyoid', 'pharynx', 'implant'., got \(2, 8, 8\)"):
        HoldTogether(STRUCTURES).begin().add(np.zeros((2, 8, 8), bool))
