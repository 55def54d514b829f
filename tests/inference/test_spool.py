"""Masks and pictures on the disk: what comes back is what went in, and nothing has a name or stays."""

from pathlib import Path

import numpy as np
import pytest

from bundle.inference.overlay import OverlayPainter
from bundle.inference.spool import MaskSpool, PictureSpool, SpooledStudy
from bundle.metrics.cropped import crop_mask
from tests.inference.conftest import make_clip


def masks_of_every_kind(rows: int, columns: int) -> np.ndarray:
    """Noise, nothing, everything, one corner, and a block, ``(4, 5, rows, columns)``."""
    masks = np.zeros((4, 5, rows, columns), bool)
    masks[:, 0] = np.random.default_rng(0).random((4, rows, columns)) > 0.5
    masks[:, 2] = True
    masks[:, 3, -1, -1] = True
    for index in range(4):
        masks[index, 4, index : index + 3, 2 * index : 2 * index + 3] = True
    return masks


@pytest.mark.parametrize(("rows", "columns"), [(20, 31), (8, 64), (7, 9)])
def test_masks_come_back_as_they_were_whole_frames_and_single_ones(tmp_path, rows, columns):
    masks, spool = masks_of_every_kind(rows, columns), MaskSpool(tmp_path, 5, rows, columns)
    for frame in masks:
        spool.append(frame)
    assert (spool.shape, spool.dtype, len(spool)) == (masks.shape, bool, 4)
    np.testing.assert_array_equal(np.stack(list(spool)), masks)
    np.testing.assert_array_equal(spool[-1], masks[-1])
    for frame, structure in np.ndindex(4, 5):
        np.testing.assert_array_equal(spool[frame, structure], masks[frame, structure])
    for frame in range(4):
        for part, mask in zip(spool.cropped(frame), masks[frame], strict=True):
            again = np.zeros_like(mask)
            again[part.box] = part.pixels
            np.testing.assert_array_equal(again, mask)
            assert part.pixels.shape == crop_mask(mask).pixels.shape
    with pytest.raises(IndexError, match="frame 4 of 4"):
        spool[4]


def test_a_mask_takes_the_room_of_its_box(tmp_path):
    spool, frame = MaskSpool(tmp_path, 12, 512, 512), np.zeros((12, 512, 512), bool)
    frame[3, 100:164, 200:264] = True
    spool.append(frame)
    assert spool._file._ends[-1] < 12 * 16 + 64 * 64 / 8 + 1  # four numbers for each box, one box of 64 x 64 bits


def test_pictures_show_what_overlays_show_of_the_frames(tmp_path):
    clip, spool = make_clip(), PictureSpool(tmp_path, 20, 31)
    for index in range(clip.num_frames):
        spool.append(clip.frame(index))
    assert (spool.shape, spool.dtype) == ((4, 1, 20, 31), np.uint8)
    parts = [crop_mask(np.zeros((20, 31), bool))]
    spooled = make_clip()
    object.__setattr__(spooled, "stored", spool)
    np.testing.assert_array_equal(
        OverlayPainter(spooled, ["bolus"]).draw(2, parts), OverlayPainter(clip, ["bolus"]).draw(2, parts)
    )


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"masks of a frame must be \(S, H, W\) = \(2, 4, 5\), got \(2, 5, 4\)"):
        MaskSpool(tmp_path, 2, 4, 5).append(np.zeros((2, 5, 4), bool))
    with pytest.raises(ValueError, match=r"a frame must be \(1, H, W\) = \(1, 4, 5\), got \(1, 5, 4\)"):
        PictureSpool(tmp_path, 4, 5).append(np.zeros((1, 5, 4), np.float32))


def test_nothing_is_seen_in_the_folder(tmp_path):
    spool = MaskSpool(tmp_path / "out", 1, 4, 4)
    spool.append(np.ones((1, 4, 4), bool))
    assert list((tmp_path / "out").iterdir()) == []


def test_chunks_are_put_away_in_order_and_the_brightest_pixels_are_known(tmp_path):
    masks, frames = masks_of_every_kind(20, 31), make_clip().frames
    study = SpooledStudy(tmp_path, masks.shape[1:], keeps_pictures=True)
    for start in range(4):
        study.add(frames[start : start + 1], masks[start : start + 1])
    clip = study.finish(make_clip())
    np.testing.assert_array_equal(np.stack(list(study.masks)), masks)
    np.testing.assert_array_equal(study.brightest, frames.max(axis=(0, 1)))
    np.testing.assert_allclose(clip.frames, frames, atol=0.5 / 255 + 1e-6)
    study.close()


def test_an_error_on_the_way_to_the_disk_is_raised(tmp_path):
    study = SpooledStudy(tmp_path, (5, 20, 31), keeps_pictures=False)
    study.add(make_clip().frames[:, :, :10], masks_of_every_kind(20, 31))
    with pytest.raises(ValueError, match="could not be broadcast"):
        study.finish(make_clip())
    study.close()


def test_the_folder_is_made(tmp_path: Path):
    PictureSpool(tmp_path / "a" / "b", 1, 1)
    assert (tmp_path / "a" / "b").is_dir()
