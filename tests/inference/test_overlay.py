"""The overlay picture: colors where the masks are, nothing elsewhere."""

import numpy as np
import pytest
from PIL import Image

from bundle.inference.overlay import OverlayPainter, richest_frame, structure_colors, write_overlay_png
from bundle.inference.study import SegmentedStudy
from bundle.metrics.cropped import CroppedMask, crop_mask
from bundle.structures import COLORS, STRUCTURES
from tests.inference.conftest import make_clip


def parts_of(masks: np.ndarray) -> list[CroppedMask]:
    return [crop_mask(mask) for mask in masks]


def painted(masks: np.ndarray, **clip_options) -> np.ndarray:
    clip = make_clip(num_frames=1, rows=masks.shape[1], columns=masks.shape[2], **clip_options)
    painter = OverlayPainter(clip, ("hyoid", "bolus"))
    return painter.draw(0, parts_of(masks))[:, : painter.width].astype(int)


def test_a_frame_without_masks_is_drawn_in_gray_only():
    picture = painted(np.zeros((2, 512, 600), bool))
    assert (np.ptp(picture, axis=-1) == 0).all()
    assert picture[0, 0, 0] == round(0.25 * 255)


def test_color_is_where_the_mask_is_and_the_outline_is_stronger_than_the_area():
    masks = np.zeros((2, 512, 600), bool)
    masks[0, 100:300, 200:400] = True
    picture = painted(masks)
    hyoid, gray = np.array(COLORS["hyoid"]), round(0.25 * 255)
    towards = (picture - gray) @ (hyoid - gray) / ((hyoid - gray) @ (hyoid - gray))  # 0 gray, 1 the structure's color
    assert towards[200, 300] == pytest.approx(0.22, abs=0.02)
    assert towards[200, 198:203].max() > 0.6  # the edge lies between two pixels
    assert np.abs(towards[200, :190]).max() < 0.01
    assert np.abs(towards[320:]).max() < 0.01


def test_a_small_structure_is_drawn_above_a_large_one():
    masks = np.zeros((2, 512, 600), bool)
    masks[0, 100:400, 100:400] = True
    masks[1, 240:260, 240:260] = True
    edge = painted(masks)[239:241, 250].astype(float)
    to_bolus, to_hyoid = (np.abs(edge - COLORS[name]).sum(axis=1).min() for name in ("bolus", "hyoid"))
    assert to_bolus < to_hyoid


@pytest.mark.parametrize(("rows", "columns"), [(20, 31), (512, 512), (513, 777), (920, 1512), (3000, 200)])
def test_pictures_of_every_size_are_even_and_neither_tiny_nor_huge(rows, columns):
    painter = OverlayPainter(make_clip(num_frames=1, rows=rows, columns=columns), STRUCTURES)
    height, width, channels = painter.draw(0, parts_of(np.zeros((12, rows, columns), bool))).shape
    assert (height, width) == painter.size
    assert height % 2 == width % 2 == 0
    assert 256 <= height <= 768
    assert channels == 3


def test_a_disk_of_oblong_pixels_is_drawn_round():
    y, x = np.mgrid[:300, :400]
    masks = np.zeros((2, 300, 400), bool)
    masks[0] = ((y + 0.5 - 150) * 1.5) ** 2 + (x + 0.5 - 200) ** 2 < 100**2  # 1.5 times as high as wide
    picture = painted(masks, pixel_aspect=1.5)
    colored = np.ptp(picture, axis=-1) > 8
    height, width = (np.flatnonzero(colored.any(axis=axis)) for axis in (1, 0))
    assert np.ptp(height) == pytest.approx(np.ptp(width), abs=4)
    assert np.ptp(height) > 200


def test_the_legend_tells_what_is_in_the_frame():
    masks = np.zeros((2, 512, 600), bool)
    clip = make_clip(num_frames=1, rows=512, columns=600)
    painter = OverlayPainter(clip, ("hyoid", "bolus"))
    absent = painter.draw(0, parts_of(masks))[:, painter.width :]
    masks[0, 5, 5] = True
    present = painter.draw(0, parts_of(masks))[:, painter.width :]
    assert (present == COLORS["hyoid"]).all(axis=-1).sum() > 50
    assert not (absent == COLORS["hyoid"]).all(axis=-1).any()
    assert not (present == COLORS["bolus"]).all(axis=-1).any()


def test_structures_of_a_site_get_colors_that_differ():
    colors = structure_colors(["left lung", "right lung", "hyoid"])
    assert len(set(colors)) == 3
    assert colors[2] == COLORS["hyoid"]


def test_the_still_shows_the_frame_with_most_structures_and_of_those_the_largest_bolus(tmp_path):
    masks = np.zeros((4, 2, 20, 31), bool)
    masks[0, 0] = True  # large bolus, alone
    masks[1, :, :2, :2] = True
    masks[2, :, :4, :4] = True
    assert richest_frame(masks) == 2
    path = tmp_path / "overlay.png"
    write_overlay_png(SegmentedStudy(masks, make_clip(), ("bolus", "hyoid")), path)
    painter = OverlayPainter(make_clip(), ("bolus", "hyoid"))
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), painter.draw(2, parts_of(masks[2])))
