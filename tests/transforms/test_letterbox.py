"""Letterbox: square pixels, nothing distorted, zeros at the bottom or right, and back again."""

import pytest
import torch

from bundle.transforms.letterbox import Letterboxd, LetterboxGeometry, letterbox, unletterbox, valid_region


def test_a_wide_frame_fills_the_width_and_is_padded_below():
    square, geometry = letterbox(torch.ones(1, 4, 8), size=4)
    assert (geometry.content_rows, geometry.content_columns) == (2, 4)
    torch.testing.assert_close(square[0], torch.tensor([[1.0] * 4] * 2 + [[0.0] * 4] * 2))
    torch.testing.assert_close(square, valid_region(geometry))


def test_a_tall_frame_is_padded_at_the_right():
    square, _ = letterbox(torch.ones(1, 8, 4), size=4)
    torch.testing.assert_close(square[0], torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4))


def test_a_square_frame_of_the_right_size_is_unchanged():
    frame = torch.rand(1, 8, 8)
    torch.testing.assert_close(letterbox(frame, 8)[0], frame)


@pytest.mark.parametrize("shape", [(1, 6, 9), (5, 1, 6, 9), (2, 5, 3, 6, 9)])
def test_leading_axes_are_kept(shape):
    assert letterbox(torch.zeros(shape), 16)[0].shape == (*shape[:-2], 16, 16)


def test_each_frame_of_a_batch_is_treated_alone():
    frames = torch.rand(3, 1, 10, 14)
    together, _ = letterbox(frames, 8)
    torch.testing.assert_close(together[1], letterbox(frames[1], 8)[0])


def test_shrinking_keeps_the_mean_gray_value():
    frame = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert letterbox(frame, 16)[0].mean() == pytest.approx(frame.mean().item(), abs=5e-3)


def test_masks_keep_type_values_and_area():
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 10:40, 20:50] = 1
    shrunk, _ = letterbox(masks, 32)
    assert shrunk.dtype == torch.uint8
    assert set(shrunk.unique().tolist()) == {0, 1}
    assert shrunk[0].sum() == 15 * 15
    assert shrunk[1].sum() == 0


@pytest.mark.parametrize("size", [(37, 61), (61, 37), (920, 1512)])
def test_masks_come_back_to_their_place(size):
    masks = torch.zeros(2, 1, *size, dtype=torch.uint8)
    masks[:, :, size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = 1
    square, geometry = letterbox(masks, 64)
    back = unletterbox(square, geometry)
    assert (back.shape, back.dtype) == (masks.shape, masks.dtype)
    overlap = (back & masks).sum() * 2 / (back.sum() + masks.sum())
    assert overlap > 0.9


def test_logits_come_back_at_the_frames_size():
    _, geometry = letterbox(torch.zeros(3, 1, 30, 50), 32)
    logits = torch.full((3, 12, 32, 32), -2.0)
    logits[:, :, geometry.content_rows :] = 99.0  # what is on padding must not leak in
    back = unletterbox(logits, geometry)
    torch.testing.assert_close(back, torch.full((3, 12, 30, 50), -2.0))


def test_masks_on_another_grid_are_refused():
    with pytest.raises(ValueError, match=r"must be on the letterbox's grid \(32, 32\), got \(8, 8\)"):
        unletterbox(torch.zeros(1, 1, 8, 8), LetterboxGeometry(10, 10, 32))


# Pixels that are not square


def disk(rows: int, columns: int, row_step: float = 1.0, column_step: float = 1.0) -> torch.Tensor:
    """A disk of radius 12 about (20, 20), sampled at the middle of every pixel: ``(1, rows, columns)``, 0 or 1."""
    y, x = (torch.arange(rows) + 0.5) * row_step, (torch.arange(columns) + 0.5) * column_step
    return ((y[:, None] - 20) ** 2 + (x[None] - 20) ** 2 <= 12**2).to(torch.uint8)[None]


@pytest.mark.parametrize("aspect", [1.125, 0.9, 4 / 3, 0.5])
def test_a_disk_of_oblong_pixels_is_the_disk_of_square_ones(aspect):
    """40 x 60 units in every case: rows are as many as fit, so that a pixel is ``aspect`` units high and 1 wide."""
    rows = round(40 / aspect)
    stored = disk(rows, 60, row_step=40 / rows)
    square, geometry = letterbox(stored, 60, pixel_aspect=40 / rows)
    assert (geometry.content_rows, geometry.content_columns) == (40, 60)
    expected = torch.nn.functional.pad(disk(40, 60), (0, 0, 0, 20))
    assert (square & expected).sum() / (square | expected).sum() > 0.9
    distorted, _ = letterbox(stored, 60)
    assert (distorted & expected).sum() / (distorted | expected).sum() < 0.9


def test_which_side_fills_the_square_is_told_by_the_picture_and_not_by_the_number_of_pixels():
    geometry = LetterboxGeometry(rows=80, columns=100, size=64, pixel_aspect=1.5)  # 120 high, 100 wide
    assert (geometry.content_rows, geometry.content_columns) == (64, 53)


@pytest.mark.parametrize("aspect", [1.125, 0.5])
def test_oblong_masks_come_back_on_their_own_grid(aspect):
    stored = disk(36, 48)[None]
    square, geometry = letterbox(stored, 96, aspect)
    back = unletterbox(square, geometry)
    assert back.shape == stored.shape
    assert (back & stored).sum() / (back | stored).sum() > 0.97


def test_a_shape_of_one_changes_nothing():
    frame = torch.rand(1, 30, 50)
    assert torch.equal(letterbox(frame, 32, pixel_aspect=1.0)[0], letterbox(frame, 32)[0])


@pytest.mark.parametrize("aspect", [0.0, -1.0, float("nan"), float("inf")])
def test_a_shape_that_no_pixel_has_is_refused(aspect):
    with pytest.raises(ValueError, match="pixel_aspect must be a pixel's height divided by its width, above 0, got"):
        letterbox(torch.zeros(1, 4, 4), 4, aspect)


def test_the_transform_makes_pixels_square_with_one_spacing_and_forgets_their_shape():
    data = {
        "image": torch.rand(1, 480, 720),
        "pixel_spacing_mm": torch.tensor([0.36, 0.32]),
        "pixel_aspect": 0.36 / 0.32,
    }
    boxed = Letterboxd("image", 64)(data)
    torch.testing.assert_close(boxed["pixel_spacing_mm"], torch.tensor([3.6, 3.6]))  # 720 x 0.32 mm on 64 pixels
    assert boxed["valid"].sum(dim=(1, 2)).tolist() == [48 * 64]  # 4:3
    assert "pixel_aspect" not in boxed


# In a chain of transforms


def test_the_transform_adds_valid_and_adapts_the_spacing():
    data = {
        "image": torch.rand(1, 4, 8),
        "label": torch.ones(2, 4, 8, dtype=torch.uint8),
        "pixel_spacing_mm": torch.tensor([0.3, 0.2]),
    }
    boxed = Letterboxd(keys=("image", "label"), size=4)(data)
    assert boxed["image"].shape == (1, 4, 4)
    assert boxed["label"].shape == (2, 4, 4)
    assert boxed["valid"].tolist() == [[[1.0] * 4] * 2 + [[0.0] * 4] * 2]
    torch.testing.assert_close(boxed["pixel_spacing_mm"], torch.tensor([0.6, 0.4]))


def test_unknown_spacing_stays_unknown():
    data = {"image": torch.rand(1, 4, 8), "pixel_spacing_mm": torch.full((2,), float("nan"))}
    assert Letterboxd("image", 4)(data)["pixel_spacing_mm"].isnan().all()


def test_entries_of_different_size_are_refused():
    data = {"image": torch.rand(1, 4, 8), "label": torch.ones(2, 4, 4, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"must have one size, got \[\(4, 4\), \(4, 8\)\]"):
        Letterboxd(("image", "label"), 4)(data)


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="size must be positive, got 0"):
        Letterboxd("image", 0)
