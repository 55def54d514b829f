"""A person's prompts mean the same in the frame's pixels and in the network's."""

import pytest
import torch

from bundle.segmentation.prompting import Prompt, answer_prompt, encode_frame
from bundle.transforms.field_of_view import Window
from bundle.transforms.letterbox import LetterboxGeometry, letterbox

FRAME = torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(1))
CLICK = Prompt("hyoid", points=[(20, 10)], point_labels=[1])


def test_coordinates_are_of_pixels_centers():
    geometry = LetterboxGeometry(rows=24, columns=32, size=64)  # twice as large
    points, labels = Prompt("c2", points=[(0, 0), (31.5, 23.5)], point_labels=[1, 0], box=(4, 5, 6, 7)).sam_points(
        geometry
    )
    assert points[0].tolist() == [[8.5, 10.5], [12.5, 14.5], [0.5, 0.5], [63.5, 47.5]]
    assert labels.tolist() == [[2, 3, 1, 0]]


def test_a_point_stays_on_its_pixel_when_pixels_are_not_square():
    frame = torch.zeros(1, 20, 40, dtype=torch.uint8)
    frame[0, 12:14, 30:32] = 1
    letterboxed, geometry = letterbox(frame, 64, pixel_aspect=1.5)
    points, _ = Prompt("c2", points=[(30.5, 12.5)], point_labels=[1]).sam_points(geometry)
    rows, columns = letterboxed[0].nonzero().float().T
    torch.testing.assert_close(points[0, 0], torch.stack([columns.mean(), rows.mean()]), atol=0.6, rtol=0)


def test_a_single_point_gets_the_best_of_three_candidates(segmenter):
    encoded = encode_frame(segmenter, FRAME)
    answer = answer_prompt(segmenter, encoded, CLICK)
    output = segmenter.decode_prompts(encoded.features, *CLICK.sam_points(encoded.geometry))
    best = int(output.iou[0, 1:].argmax()) + 1
    assert answer.iou == output.iou[0, best]
    assert torch.equal(answer.logits[0, 0], output.masks[0, best])
    assert answer.mask.shape == (24, 32)
    assert answer.mask.dtype == torch.bool


def test_a_clear_prompt_gets_the_one_mask(segmenter):
    encoded = encode_frame(segmenter, FRAME)
    box = Prompt("hyoid", box=(3, 4, 20, 20))
    output = segmenter.decode_prompts(encoded.features, *box.sam_points(encoded.geometry))
    assert torch.equal(answer_prompt(segmenter, encoded, box).logits[0, 0], output.masks[0, 0])


def test_an_earlier_answer_and_a_mask_change_the_answer(segmenter):
    encoded = encode_frame(segmenter, FRAME)
    first = answer_prompt(segmenter, encoded, CLICK)
    second = answer_prompt(segmenter, encoded, CLICK, first.logits)
    assert not torch.equal(first.logits, second.logits)
    masks = [torch.zeros(24, 32), torch.ones(24, 32)]
    redrawn = [answer_prompt(segmenter, encoded, Prompt("hyoid", mask=mask)).logits for mask in masks]
    assert not torch.equal(*redrawn)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "needs points, a box or both; or else a mask"),
        ({"box": (0, 0, 2, 2), "mask": torch.ones(4, 4)}, "needs points, a box or both; or else a mask"),
        ({"points": [(1, 1)]}, "1 points and labels \\[\\]"),
        ({"points": [(1, 1)], "point_labels": [2]}, "1 inside or 0 outside"),
        ({"box": (5, 0, 2, 2)}, "left, top, right, bottom, got \\(5, 0, 2, 2\\)"),
    ],
)
def test_a_prompt_that_says_nothing_or_contradicts_itself_is_refused(said, message):
    with pytest.raises(ValueError, match=message):
        Prompt("hyoid", **said)


def test_a_prompt_outside_the_frame_and_a_clip_for_a_frame_are_refused(segmenter):
    encoded = encode_frame(segmenter, FRAME)
    with pytest.raises(ValueError, match="24 rows x 32 columns, got x 2, y 30"):
        answer_prompt(segmenter, encoded, Prompt("hyoid", box=(1, 1, 2, 30)))
    with pytest.raises(ValueError, match=r"grayscale \(1, H, W\), got \(4, 1, 8, 8\)"):
        encode_frame(segmenter, torch.zeros(4, 1, 8, 8))


def test_a_prompt_moves_with_the_part_of_the_frame_and_ends_at_its_edge():
    prompt = Prompt("c2", 3, points=[(20, 10), (2, 3)], point_labels=[1, 0], box=(8, 2, 31, 20))
    moved = prompt.within(Window(top=6, bottom=16, left=10, right=28))
    assert (moved.frame, moved.points, moved.point_labels) == (3, [(10, 4), (0, 0)], [1, 0])
    assert moved.box == (0, 0, 17, 9)
    mask = torch.arange(24 * 32).reshape(24, 32)
    assert torch.equal(Prompt("c2", mask=mask).within(Window(6, 16, 10, 28)).mask, mask[6:16, 10:28])
