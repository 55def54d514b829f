"""The video benchmark: the same swallows for every way of making masks, scored over frames that nobody was given."""

import pytest
import torch

from bundle.laboratory.benchmarks.video import clicks_on, measure_video, shipped_tracker
from bundle.segmentation.sam2 import build_tracker
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk


def test_every_way_is_scored_on_the_same_swallows():
    torch.manual_seed(0)
    segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), STRUCTURES, image_size=64).eval()
    scores = {score.masks: score for score in measure_video(segmenter, build_tracker(segmenter), 1, num_frames=4)}
    assert len(scores) == 5
    still = scores["true masks of the first frame, not moved"]
    assert 0.5 < still.dice < 1, "a swallow is not still, and not all of it moves"
    assert still.flicker < 0, "what is not moved changes less than the truth"
    assert still.ms_per_frame is None
    for name, score in scores.items():
        if score is not still:
            assert score.dice < still.dice, f"{name} with random weights"
            assert score.ms_per_frame > score.ms_per_mask > 0


def test_a_click_is_on_its_structure():
    label = torch.zeros(2, 2, 8, 8, dtype=torch.bool)
    label[0, 0, 1:4, 2] = True
    label[0, 1, 5, 0:3] = True
    segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), ("a", "b", "c"), image_size=64)
    clicks = clicks_on(segmenter, label, [0, 2])
    assert [(click.structure, click.points) for click in clicks] == [("a", [(2, 2)]), ("c", [(1, 5)])]


def test_without_shipped_weights_the_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.json"):
        shipped_tracker(tmp_path)
