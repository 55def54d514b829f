"""Rings: the points that scikit-image finds around masks, and the ones that its Douglas-Peucker keeps."""

import numpy as np
import pytest
from skimage.measure import approximate_polygon, find_contours

from bundle.report.rings import rings_around, with_fewer_points


def points_of(rings: list[np.ndarray]) -> list[set[tuple[float, ...]]]:
    """Each ring as the set of its points, in an order of no meaning."""
    return sorted(({tuple(point.tolist()) for point in ring} for ring in rings), key=sorted)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 0.9, 1.0])
def test_rings_are_those_of_scikit_image(share):
    mask = np.random.default_rng(0).random((37, 52)) < share
    expected = [ring - 1 for ring in find_contours(np.pad(mask, 1).astype(float), 0.5)]
    found = rings_around(mask)
    assert points_of(found) == points_of(expected)
    assert all((ring[0] == ring[-1]).all() for ring in found)


def test_the_points_of_a_ring_follow_each_other():
    mask = np.random.default_rng(1).random((20, 30)) < 0.5
    for ring in rings_around(mask):
        assert np.abs(np.diff(ring, axis=0)).max() <= 1


def test_pixels_that_touch_by_a_corner_are_apart_and_what_is_around_them_is_not():
    assert len(rings_around(np.eye(3, dtype=bool))) == 3
    assert len(rings_around(~np.eye(3, dtype=bool))) == 2


@pytest.mark.parametrize("tolerance", [0.05, 0.3, 2.0])
def test_the_points_that_stay_are_those_of_scikit_image(tolerance):
    angle = np.linspace(0, 2 * np.pi, 300)
    radius = 10 + np.random.default_rng(2).random((4, 300))
    rings = [np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1) for r in radius]
    rings = [np.concatenate([ring, ring[:1]]) for ring in rings]
    for found, ring in zip(with_fewer_points(rings, tolerance), rings, strict=True):
        np.testing.assert_array_equal(found, approximate_polygon(ring, tolerance))
        assert 3 < len(found) < len(ring)


def test_no_ring_is_no_ring():
    assert with_fewer_points([], 0.5) == []
