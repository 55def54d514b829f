"""Letterbox: one scale, zeros at the bottom or right, and back again."""

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
