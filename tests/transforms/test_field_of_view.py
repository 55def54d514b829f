"""The picture in a recording's black border."""

import numpy as np
import pytest

from bundle.phantom.study import generate_study
from bundle.transforms.field_of_view import Window, find_field_of_view


def film(rows: int = 200, columns: int = 320, border: float = 0.0) -> np.ndarray:
    return np.full((4, 1, rows, columns), border, np.float32)


def with_picture(frames: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    frames[:, :, rows, columns] = np.random.default_rng(0).uniform(0.1, 0.9, frames[:, :, rows, columns].shape)
    return frames


@pytest.mark.parametrize("border", [0.0, 0.07])
def test_the_picture_is_found_with_a_margin(border):
    frames = with_picture(film(border=border), slice(20, 120), slice(100, 220))
    assert find_field_of_view(frames) == Window(18, 122, 98, 222)


def test_the_margin_ends_at_the_frames_edge():
    frames = with_picture(film(), slice(0, 120), slice(200, 320))
    assert find_field_of_view(frames) == Window(0, 122, 198, 320)


def test_text_in_the_border_is_no_picture():
    frames = with_picture(film(), slice(20, 120), slice(100, 220))
    frames[:, :, 180:190, 5:60] = 1.0
    assert find_field_of_view(frames) == Window(18, 122, 98, 222)


def test_what_is_lit_in_one_of_the_frames_counts():
    frames = with_picture(film(), slice(20, 120), slice(100, 220))
    frames[:3, :, :, 160:] = 0.0
    assert find_field_of_view(frames).right == 222


@pytest.mark.parametrize(
    "frames",
    [
        film(),
        film(border=0.6),
        with_picture(film(), slice(2, 198), slice(2, 318)),
        with_picture(film(), slice(20, 22), slice(40, 60)),
        with_picture(film(border=0.6), slice(20, 120), slice(100, 220)),
        with_picture(film(), slice(60, 140), slice(0, 320)),
    ],
    ids=["black", "gray", "picture nearly fills it", "a speck", "bright border", "as wide as the frame"],
)
def test_else_the_whole_frame_is_taken(frames):
    assert find_field_of_view(frames) == Window(0, 200, 0, 320)


@pytest.mark.parametrize("seed", [13, 17, 20, 30])  # whose collimators leave the least
def test_a_phantoms_own_collimator_is_no_border(seed):
    frames = generate_study(seed, 64, 8).frames
    assert find_field_of_view(frames) == Window(0, 64, 0, 64)
