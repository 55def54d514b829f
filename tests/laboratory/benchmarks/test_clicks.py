"""The clicks' benchmark: where a click falls, and that every way is scored in both domains."""

import pytest
import torch

from bundle.laboratory.benchmarks.clicks import measure_clicks, next_click
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk


def square(top: int, left: int, side: int) -> torch.Tensor:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize(
    ("pred", "label", "point", "inside"),
    [
        (square(0, 0, 0), square(4, 6, 5), (8, 6), 1),
        (square(4, 6, 5), square(4, 6, 5), (8, 6), 1),
        (square(4, 6, 5) | square(10, 20, 7), square(4, 6, 5), (23, 13), 0),
        (square(0, 0, 3) | square(4, 6, 5), square(0, 0, 3) | square(4, 6, 5) | square(12, 3, 3), (4, 13), 1),
        (square(0, 0, 0), square(0, 0, 5), (2, 2), 1),
    ],
    ids=["nothing yet", "all right", "too much", "a part is missing", "at the edge"],
)
def test_a_click_falls_into_the_middle_of_the_largest_wrong_region(pred, label, point, inside):
    assert next_click(pred, label) == (point, inside)


def test_every_way_is_scored_in_both_domains():
    torch.manual_seed(0)
    segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), STRUCTURES, image_size=64).eval()
    scores = {score.answer: score for score in measure_clicks(segmenter, 1, num_frames=1)}
    assert len(scores) == 11
    assert all(0 <= score.standard <= 1 and 0 <= score.hard <= 1 for score in scores.values())
    assert scores["a click on it"].standard != scores["a click on it, by name"].standard
