"""Cropped masks: all that is set, at its place."""

import numpy as np

from bundle.metrics.cropped import crop_mask, cropped


def test_a_cropped_mask_has_all_that_is_set_at_its_place_and_nothing_around_it():
    mask = np.zeros((9, 12), bool)
    mask[3, 4] = mask[6, 8] = True
    part = crop_mask(mask)
    assert (part.top, part.left, part.pixels.shape) == (3, 4, (4, 5))
    again = np.zeros_like(mask)
    again[part.box] = part.pixels
    np.testing.assert_array_equal(again, mask)


def test_of_an_empty_mask_nothing_is_left():
    assert crop_mask(np.zeros((3, 4), bool)).pixels.size == 0


def test_masks_that_are_no_file_are_cropped_one_by_one():
    masks = np.zeros((2, 2, 5, 5), bool)
    masks[1, 0, 2:4, 1] = True
    assert [part.pixels.shape for part in cropped(masks, 1)] == [(2, 1), (0, 0)]
