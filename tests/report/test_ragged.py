"""Ragged masks: a page of noise stays small, and a structure with clear outlines keeps them."""

import numpy as np
import pytest

from bundle.report.outlines import MOST_EDGES, SPECK_PIXELS, edge_limit, num_edges, outline, outlines, simplified
from tests.report.test_outlines import filled
from tests.report.test_write import content, write

BYTES_PER_EDGE = 7  # a pixel alone: "M1000 1000l-2 2 2 2 2 -2z" for four


def noise(share: float, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape) < share


def size_of(drawn: list[list[str]]) -> int:
    return sum(len(data) for frame in drawn for data in frame)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.9])
def test_outlines_of_noise_have_a_bounded_size(share):
    masks = noise(share, 2, 6, 128, 128)
    drawn, num_simplified = outlines(masks, (1.0, 1.0), most_edges=3000)
    assert size_of(drawn) < 3000 * BYTES_PER_EDGE
    assert num_simplified == 12
    assert all(data for frame in drawn for data in frame), "a structure that is there has an outline"


def test_noise_in_one_structure_leaves_the_outlines_of_the_others_as_they_are(study):
    masks = study.masks[:3].copy()
    expected, num_simplified = outlines(masks, (1.0, 1.0))
    assert num_simplified == 0
    masks[:, 0] = noise(0.3, 3, 256, 256)
    drawn, num_simplified = outlines(masks, (1.0, 1.0), most_edges=30_000)
    assert num_simplified == 3
    assert [frame[1:] for frame in drawn] == [frame[1:] for frame in expected]
    assert size_of(drawn) < 30_000 * BYTES_PER_EDGE


def test_specks_on_a_clear_structure_are_left_out_and_it_keeps_its_outline():
    clear = np.zeros((128, 128), bool)
    clear[30:90, 20:100] = True
    clear[50:70, 40:60] = False
    specks = clear ^ noise(0.02, 128, 128)
    simpler, side = simplified(specks, most_edges=1000)
    assert side == 1
    assert (simpler != clear).sum() < 40  # specks that touch its edge
    assert num_edges(specks) > 1000 > num_edges(simpler)


def test_a_coarser_mask_is_drawn_at_its_place():
    rows, columns = np.mgrid[:101, :75]
    ragged = ((rows - 60) ** 2 + (columns - 30) ** 2 < 25**2) & noise(0.8, 101, 75)  # odd sizes
    simpler, side = simplified(ragged, most_edges=200)
    assert side > 1
    found = filled(outline(simpler, (side, side)), 101, 75)
    disk = (rows - 60) ** 2 + (columns - 30) ** 2 < 25**2
    assert (found & disk).sum() / (found | disk).sum() > 0.85


def test_the_largest_part_is_drawn_however_small():
    mask = np.zeros((30, 30), bool)
    mask[::3, ::3] = True
    mask[0, 1] = True
    simpler, _ = simplified(mask, most_edges=10)
    assert simpler.sum() == 2 < SPECK_PIXELS


def test_true_masks_of_400_frames_of_512_x_512_are_drawn_in_full(study):
    per_frame = sum(num_edges(mask) for frame in study.masks for mask in frame) / len(study.masks)
    assert 400 * 2 * per_frame < MOST_EDGES  # twice as many rows and columns: outlines twice as long
    assert MOST_EDGES * BYTES_PER_EDGE == 14e6


def test_edges_are_sides_of_pixels():
    mask = np.zeros((6, 6), bool)
    mask[2:4, 1:4] = True
    assert num_edges(mask) == 10
    assert num_edges(np.ones((6, 6), bool)) == 0  # the border of the picture


def test_what_masks_with_few_edges_do_not_need_is_left_to_the_others():
    assert edge_limit([10, 20, 30], most_edges=60) == float("inf")
    assert edge_limit([10, 100, 200], most_edges=110) == 50  # 10 + 50 + 50
    assert edge_limit([100, 10, 40], most_edges=110) == 60  # 60 + 10 + 40
    assert edge_limit([90, 90, 90], most_edges=30) == 10


def test_a_page_of_noise_stays_small_and_says_that_its_outlines_are_simplified(tmp_path, study):
    num_frames, rows, columns = 4, 384, 384
    masks = np.broadcast_to(noise(0.1, 1, 12, rows, columns), (num_frames, 12, rows, columns))
    text = write(tmp_path, num_frames=num_frames, masks=masks, measures=None, size=(rows, columns))
    assert len(text) < 15e6
    assert "48 masks are too ragged to be drawn in full: their specks below 16 pixels are left out" in text
    assert content(text)["simplified"] == 48
    assert "ragged to be drawn" not in study.path.read_text()
