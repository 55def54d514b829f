"""Outlines: polygons that cover the pixels of a mask, holes and islands included."""

import re

import numpy as np
import pytest
from matplotlib.path import Path
from scipy.ndimage import binary_dilation, binary_erosion

from bundle.metrics.cropped import crop_mask
from bundle.report.outlines import UNITS, anchor, outline
from bundle.structures import STRUCTURES


def polygons(data: str) -> list[np.ndarray]:
    """Corners (x, y) in pixels of each ring, read back from the path data."""
    rings = []
    for ring in re.findall(r"M(\S+ \S+?)l([^z]+)z", data):
        start, steps = ([int(number) for number in part.split()] for part in ring)
        rings.append((np.cumsum([start, *np.reshape(steps, (-1, 2))], axis=0)) / UNITS)
    return rings


def filled(data: str, rows: int, columns: int) -> np.ndarray:
    """Pixels whose center lies inside an odd number of rings, by another library."""
    y, x = np.mgrid[:rows, :columns] + 0.5
    centers = np.stack([x.ravel(), y.ravel()], axis=1)
    inside = sum(Path(ring).contains_points(centers).astype(int) for ring in polygons(data))
    return (np.asarray(inside) % 2 == 1).reshape(rows, columns) if polygons(data) else np.zeros((rows, columns), bool)


def test_an_empty_mask_has_no_outline_and_no_anchor():
    assert outline(np.zeros((5, 6), bool), (1.0, 1.0)) == ""
    assert anchor(crop_mask(np.zeros((5, 6), bool)), (1.0, 1.0)) is None


def test_a_square_keeps_its_place_its_size_and_its_hole():
    mask = np.zeros((40, 50), bool)
    mask[10:30, 5:35] = True
    mask[15:25, 15:25] = False
    mask[0:3, 47:50] = True  # in the corner of the picture
    found = filled(outline(mask, (1.0, 1.0)), 40, 50)
    np.testing.assert_array_equal(found, mask)
    assert len(polygons(outline(mask, (1.0, 1.0)))) == 3


def test_a_single_pixel_and_a_thin_line_do_not_vanish():
    mask = np.zeros((9, 9), bool)
    mask[2, 3] = True
    mask[6, 1:8] = True
    np.testing.assert_array_equal(filled(outline(mask, (1.0, 1.0)), 9, 9), mask)


def test_a_reduced_picture_has_reduced_outlines():
    mask = np.zeros((40, 50), bool)
    mask[10:30, 8:32] = True
    ring = polygons(outline(mask, (0.5, 0.25)))[0]
    np.testing.assert_allclose(ring.min(axis=0), [2, 5], atol=0.3)
    np.testing.assert_allclose(ring.max(axis=0), [8, 15], atol=0.3)


@pytest.mark.parametrize("name", STRUCTURES)
def test_outlines_of_a_patient_differ_from_the_masks_in_pixels_of_the_rim_only(study, name):
    mask = study.masks[14, STRUCTURES.index(name)]
    found = filled(outline(mask, (1.0, 1.0)), *mask.shape)
    assert mask.any()
    assert not (found & ~binary_dilation(mask)).any()
    assert not (binary_erosion(mask) & ~found).any()
    assert abs(found.sum() - mask.sum()) <= 0.05 * mask.sum() + 2


def test_letters_stand_on_their_structure_even_where_the_centroid_does_not():
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:5] = mask[2:18, 15:18] = mask[15:18, 2:18] = True
    x, y = np.array(anchor(crop_mask(mask), (1.0, 1.0))) / UNITS
    assert mask[int(y), int(x)]
