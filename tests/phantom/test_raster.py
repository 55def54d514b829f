"""Rasterization against areas and positions worked out by hand."""

import numpy as np
import pytest

from bundle.phantom.geometry import ellipse, ribbon, rotate, rounded, smooth_closed, smooth_open
from bundle.phantom.raster import Canvas, fill, moved

CANVAS = Canvas(64, 2.0 * np.eye(2), np.zeros(2))  # two pixels per millimeter, millimeter 0 at pixel 0


def test_the_mask_of_a_square_has_its_area_and_place():
    # 5 mm at 2 px/mm from pixel center 20 to 30: 10 px wide, edges on pixel centers.
    mask = CANVAS.mask(np.array([(10.25, 10.25), (15.25, 10.25), (15.25, 15.25), (10.25, 15.25)]))
    assert mask.sum() == 100
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (21, 30, 21, 30)


@pytest.mark.parametrize("shift", [0.0, 0.13, 0.37])
def test_coverage_is_neither_larger_nor_displaced(shift):
    x, y = 10.0 + shift, 12.0 + 2 * shift  # mm, two pixels each
    patch = CANVAS.cover(np.array([(x, y), (x + 7.3, y), (x + 7.3, y + 5.1), (x, y + 5.1)]))
    assert patch.values.sum() == pytest.approx(14.6 * 10.2, rel=0.04)  # a third of a pixel on the outline is 3%
    rows, columns = np.indices(patch.values.shape)
    middle = [float((axis * patch.values).sum() / patch.values.sum()) for axis in (columns, rows)]
    assert middle[0] + patch.column == pytest.approx(2 * x + 7.3, abs=0.17)  # half a supersampled pixel
    assert middle[1] + patch.row == pytest.approx(2 * y + 5.1, abs=0.17)


def test_an_outline_that_crosses_itself_is_filled_by_the_even_odd_rule():
    hourglass = np.array([(0.5, 0.5), (8.5, 8.5), (8.5, 0.5), (0.5, 8.5)])
    filled = fill(hourglass, 10, 10)
    assert filled[4, 1] == 1
    assert filled[1, 4] == 0


def test_coverage_adds_up_to_the_area_of_a_disc():
    patch = CANVAS.cover(ellipse((16.0, 16.0), (6.0, 6.0), num_points=200))
    assert patch.values.sum() == pytest.approx(np.pi * 12**2, rel=0.03)


def test_blur_keeps_the_total():
    outline = ellipse((16.0, 16.0), (5.0, 5.0))
    assert CANVAS.cover(outline, 1.0).values.sum() == pytest.approx(CANVAS.cover(outline).values.sum(), rel=0.01)


def test_what_lies_outside_draws_nothing():
    assert CANVAS.cover(ellipse((-50.0, 16.0), (5.0, 5.0))) is None
    assert CANVAS.mask(ellipse((-50.0, 16.0), (5.0, 5.0))).sum() == 0


def test_a_moved_map_is_where_a_fresh_drawing_is():
    outline = smooth_closed([(10, 10), (20, 11), (21, 20), (12, 19)])
    angle = np.deg2rad(7.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = Canvas(64, 2.0 * turn, np.array([6.3, -2.6]))
    still, fresh = np.zeros((2, 64, 64), np.float32)
    CANVAS.add(still, outline, 1.0, blur_mm=0.8)
    target.add(fresh, outline, 1.0, blur_mm=0.8)
    assert abs(moved(still, CANVAS, target) - fresh).max() < 0.04
    window = (slice(8, 50), slice(5, 60))
    np.testing.assert_allclose(moved(still, CANVAS, target, window), moved(still, CANVAS, target)[window], atol=1e-5)


def test_curves_pass_through_their_points():
    curve = smooth_open([(0, 0), (1, 2), (3, 3)], 201)
    for point in ((0, 0), (1, 2), (3, 3)):
        assert np.linalg.norm(curve - point, axis=1).min() < 0.02


def test_a_ribbon_is_as_wide_as_asked():
    band = ribbon(np.stack([np.arange(5.0), np.zeros(5)], axis=1), 1.5)
    assert np.ptp(band[:, 1]) == pytest.approx(3.0)


def test_rotation_is_clockwise_on_the_screen():
    np.testing.assert_allclose(rotate([(1.0, 0.0)], 90.0, (0.0, 0.0)), [(0.0, 1.0)], atol=1e-12)


def test_rounding_stays_inside_the_polygon():
    square = rounded([(0, 0), (1, 0), (1, 1), (0, 1)], 0.3)
    assert square.min() >= 0
    assert square.max() <= 1
    assert np.linalg.norm(square - [0, 0], axis=1).min() > 0.05
