"""Prompts by a structure's name: every click is honored, what it does not concern stays, a box cuts."""

import pytest
import torch

from bundle.segmentation.named import answer_by_name
from bundle.segmentation.prompting import EncodedFrame, Prompt, answer_prompt, encode_frame

FRAME = torch.rand(1, 96, 128, generator=torch.Generator().manual_seed(1))
SPOTS = [(20, 10), (64, 48), (100, 80), (30, 70), (110, 20)]


@pytest.fixture
def encoded(segmenter):
    return encode_frame(segmenter, FRAME)


def automatic(segmenter, encoded, name="hyoid"):
    """Logits ``(16, 16)`` of the automatic mask, present or not."""
    return segmenter.decode_structures(encoded.features).masks[0, segmenter.structures.index(name)]


@pytest.mark.parametrize("labels", [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1] * 5, [0] * 5])
def test_every_click_is_honoured(segmenter, encoded, labels):
    mask = answer_by_name(segmenter, encoded, Prompt("hyoid", points=SPOTS, point_labels=labels)).mask
    assert [int(mask[y, x]) for x, y in SPOTS] == labels


@pytest.mark.parametrize("size", [24, 61, 128, 300])
@pytest.mark.parametrize("label", [0, 1])
def test_a_click_is_honoured_in_frames_of_any_size_against_a_mask_that_is_sure(segmenter, monkeypatch, size, label):
    encoded = encode_frame(segmenter, torch.rand(1, size, size, generator=torch.Generator().manual_seed(2)))
    random = torch.Generator().manual_seed(3)
    unlike = [torch.randn(features.shape, generator=random) for features in encoded.features.high_res_features]
    features = encoded.features._replace(high_res_features=tuple(unlike))  # no click speaks for its neighbors
    encoded = EncodedFrame(features, encoded.geometry)
    sure = automatic(segmenter, encoded).new_full((1, 2, 16, 16), 20.0 - 40.0 * label)
    answer = segmenter.decode_structures(encoded.features)._replace(masks=sure, presence=torch.full((1, 2), 20.0))
    monkeypatch.setattr(segmenter, "decode_structures", lambda _: answer)
    spots = [(size // 3, size // 4), (size // 2, size - 3)]
    mask = answer_by_name(segmenter, encoded, Prompt("hyoid", points=spots, point_labels=[label] * 2)).mask
    assert [int(mask[y, x]) for x, y in spots] == [label] * 2


def test_what_is_right_already_stays(segmenter, encoded):
    torch.nn.init.constant_(segmenter.structure_queries.quality.layers[-1].bias, 50.0)  # present
    logits = automatic(segmenter, encoded) * 1000  # no pixel in doubt
    segmenter.structure_queries.hypernetwork.layers[-1].weight.data *= 1000
    segmenter.structure_queries.hypernetwork.layers[-1].bias.data *= 1000
    cells = [(y // 8, x // 8) for x, y in SPOTS]  # of 16 x 16
    labels = [int(logits[cell] > 0) for cell in cells]
    answer = answer_by_name(segmenter, encoded, Prompt("hyoid", points=SPOTS, point_labels=labels)).logits[0, 0]
    is_near = torch.zeros(16, 16, dtype=torch.bool)
    for row, column in cells:
        is_near[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    torch.testing.assert_close(answer[~is_near], logits[~is_near], rtol=1e-4, atol=1e-2)
    assert 0 in labels
    assert 1 in labels


def test_a_click_is_felt_nearby_and_not_far_away(segmenter, encoded):
    before = automatic(segmenter, encoded)
    label = int(before[2, 2] < 0)  # against the mask; the click is in cell (2, 2) of 16
    answer = answer_by_name(segmenter, encoded, Prompt("hyoid", points=[(20, 20)], point_labels=[label])).logits[0, 0]
    if label == 0:
        before = torch.minimum(before, segmenter.decode_structures(encoded.features).presence[0, 1])
    change = (answer - before).abs()
    assert change[2, 2] > 1
    assert change[1:4, 1:4].max() == change.max()
    assert change[8:].max() < 1e-3 * change[2, 2]


def test_two_clicks_that_contradict_each_other_do_no_harm(segmenter, encoded):
    prompt = Prompt("hyoid", points=[(20, 20), (20, 20)], point_labels=[1, 0])
    assert answer_by_name(segmenter, encoded, prompt).logits.abs().max() < 20


def test_nothing_is_outside_a_box(segmenter, encoded):
    mask = answer_by_name(segmenter, encoded, Prompt("hyoid", box=(30, 20, 90, 70))).mask
    outside = torch.ones_like(mask)
    outside[16:75, 26:95] = False  # a cell of the grid is 8 pixels here
    assert not (mask & outside).any()


def test_a_box_in_which_the_name_finds_nothing_is_answered_without_it(segmenter, encoded):
    segmenter.structure_queries.hypernetwork.layers[-1].weight.data.zero_()
    segmenter.structure_queries.hypernetwork.layers[-1].bias.data.zero_()
    box = Prompt("hyoid", box=(0, 0, 127, 95))
    answer, nameless = answer_by_name(segmenter, encoded, box), answer_prompt(segmenter, encoded, box)
    assert answer.iou == nameless.iou
    assert torch.equal(answer.logits[..., :12, :], nameless.logits[..., :12, :])


def test_points_outside_alone_do_not_make_an_absent_structure_present(segmenter, encoded):
    torch.nn.init.constant_(segmenter.structure_queries.quality.layers[-1].bias, -50.0)  # absent
    away = Prompt("hyoid", points=[(20, 20)], point_labels=[0])
    on_it = Prompt("hyoid", points=[(20, 20)], point_labels=[1])
    assert not answer_by_name(segmenter, encoded, away).mask.any()
    assert answer_by_name(segmenter, encoded, on_it).mask[20, 20]


def test_a_mask_and_a_point_beside_the_frame_are_refused(segmenter, encoded):
    with pytest.raises(ValueError, match="a mask needs no answer: give points or a box"):
        answer_by_name(segmenter, encoded, Prompt("hyoid", mask=torch.ones(96, 128)))
    with pytest.raises(ValueError, match="must lie in the frame of 96 rows x 128 columns"):
        answer_by_name(segmenter, encoded, Prompt("hyoid", points=[(20, 96)], point_labels=[1]))
