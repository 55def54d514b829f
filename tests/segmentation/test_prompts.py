"""Prompts say what the labels say, and the same seed draws the same."""

import torch

from bundle.segmentation.prompts import PromptSampler

LABEL = torch.zeros(4, 3, 32, 32)
LABEL[:, 1, 8:16, 4:20] = 1  # rows 8-15, columns 4-19
LABEL[0, 2, 30, 1] = 1


def draw(count: int, label: torch.Tensor = LABEL, **kwargs):
    sampler = PromptSampler(**kwargs)
    return [sampler(label) for _ in range(count)]


def test_a_point_inside_is_inside_and_a_point_outside_outside():
    seen = set()
    for prompts in draw(40):
        for frame, (structure, points, labels) in enumerate(zip(*prompts, strict=True)):
            for (x, y), kind in zip(points.long(), labels, strict=True):
                if kind in (0, 1):
                    assert LABEL[frame, structure, y, x] == kind
                    seen.add(int(kind))
    assert seen == {0, 1}


def test_a_box_without_jitter_is_the_masks_own():
    boxes = [p for p in draw(40, LABEL[1:], box_jitter=0.0) if (p.point_labels == 2).any()]
    assert boxes
    for prompts in boxes:
        assert prompts.points[0, :2].tolist() == [[4.0, 8.0], [19.0, 15.0]]
        assert prompts.point_labels[0].tolist() == [2, 3, -1]


def test_a_jittered_box_stays_in_the_frame():
    points = torch.cat([p.points for p in draw(40, box_jitter=3.0)])
    assert points.min() >= 0
    assert points.max() <= 31


def test_only_structures_of_the_frame_are_asked_for():
    assert all((p.structure[1:] == 1).all() for p in draw(20))


def test_a_batch_has_one_kind_of_prompt():
    for prompts in draw(20):
        assert len({tuple(labels.tolist()) for labels in prompts.point_labels}) == 1


def test_a_frame_without_structures_gets_an_outside_point():
    for prompts in draw(10, torch.zeros(2, 3, 8, 8)):
        assert prompts.point_labels.tolist() == [[0, -1, -1]] * 2


def test_the_same_seed_draws_the_same():
    for first, second in zip(draw(5, seed=3), draw(5, seed=3), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert any(not torch.equal(a.points, b.points) for a, b in zip(draw(5, seed=3), draw(5, seed=4), strict=True))
