"""Windows of clips: frames in order of time, as channels, any start and step, forwards and backwards."""

from itertools import pairwise

import pytest
import torch

from bundle.data.datalist import load_datalist
from bundle.phantom import make_phantom_dataset
from bundle.structures import STRUCTURES
from bundle.transforms.windows import LoadClipd, RandWindowd, Windowd, group_clips

FRAMES = [
    {"clip": clip, "frame": frame, "patient": clip[0]} for clip, frame in [("b", 3), ("a", 1), ("b", 0), ("b", 1)]
]
LOADED = {
    "image": torch.arange(10.0).view(10, 1, 1).expand(10, 2, 2),
    "label": torch.arange(10).view(10, 1, 1, 1).expand(10, 3, 2, 2),
    "clip": "a",
}


def test_frames_are_grouped_by_clip_in_order_of_time():
    clips = group_clips(FRAMES, min_length=2)
    assert [clip["clip"] for clip in clips] == ["b"]
    assert [frame["frame"] for frame in clips[0]["frames"]] == [0, 1, 3]
    with pytest.raises(ValueError, match="needs 4 labeled frames, the longest of 2 clips has 3"):
        group_clips(FRAMES, min_length=4)


def test_a_loaded_clip_is_letterboxed_whole(tmp_path):
    datalist = make_phantom_dataset(tmp_path / "data", 1, 0, 0, size=48, num_frames=3, formats=("rf",))
    (clip,) = group_clips(load_datalist(datalist, "training", STRUCTURES))
    loaded = LoadClipd(STRUCTURES, 64)(clip)
    assert loaded["image"].shape == (3, 64, 64)
    assert loaded["label"].shape == (3, 12, 64, 64)
    assert loaded["label"].dtype == torch.uint8
    assert loaded["valid"].shape == (1, 64, 64)
    assert not torch.equal(loaded["image"][0], loaded["image"][1])


def test_a_window_has_frames_and_structures_as_channels():
    window = Windowd(4)(LOADED)
    assert window["image"][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert window["label"][:, 0, 0].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert window["frame"] == 0
    assert len(Windowd(99)(LOADED)["image"]) == 10


def test_random_windows_have_even_steps_and_come_both_ways():
    draw = RandWindowd(4, max_step=9)
    draw.set_random_state(seed=0)
    windows = [draw.draw(10) for _ in range(200)]
    steps = set()
    for window in windows:
        assert len(window) == 4
        assert all(0 <= frame < 10 for frame in window)
        (step,) = {second - first for first, second in pairwise(window)}
        steps.add(step)
    assert steps == {1, 2, 3, -1, -2, -3}
    assert {min(window) for window in windows if max(window) - min(window) == 3} == set(range(7))


def test_what_is_too_short_is_refused():
    with pytest.raises(ValueError, match="a window has 11 frames, the clip 10"):
        RandWindowd(11)(LOADED)
    with pytest.raises(ValueError, match="2 frames and a step of 1 or more"):
        RandWindowd(1)
