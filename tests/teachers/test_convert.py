"""Renaming, joining and flattening the tensors of a file."""

import pytest
import torch
import torch.nn.functional as F

from bundle.teachers.convert import rename, sum_over_depth


def test_patterns_are_applied_in_order_and_pieces_are_joined():
    state = {"net.head.1": torch.zeros(1, 1, 2), "net.rest": torch.ones(1, 3, 2), "net.fc.weight": torch.ones(2)}
    renamed = rename(state, {"^net\\.": "", "head.1": "head"}, {"positions": ["head", "rest"]})
    assert list(renamed) == ["fc.weight", "positions"]
    assert renamed["positions"].sum(dim=2).tolist() == [[0, 2, 2, 2]]


@pytest.mark.parametrize(
    ("patterns", "joined", "words"),
    [
        ({r"\d": ""}, None, "give two tensors the name a, the second is a2"),
        ({}, {"b": ["a1", "a3"]}, r"b is joined from \['a1', 'a3'\], but there is no a3"),
    ],
)
def test_what_does_not_fit_is_named(patterns, joined, words):
    with pytest.raises(ValueError, match=words):
        rename({"a1": torch.zeros(1), "a2": torch.zeros(1)}, patterns, joined)


def test_a_summed_kernel_sees_an_image_as_the_volume_kernel_sees_it_repeated():
    kernel, image = torch.randn(2, 3, 5, 3, 3), torch.randn(1, 3, 8, 8)
    flat = sum_over_depth({"conv": kernel.bfloat16(), "bias": torch.ones(2)})
    assert flat["bias"].tolist() == [1, 1]
    repeated = image[:, :, None].expand(-1, -1, 5, -1, -1)
    expected = F.conv3d(repeated, kernel.bfloat16().float())[:, :, 0]
    torch.testing.assert_close(F.conv2d(image, flat["conv"]), expected, atol=1e-4, rtol=1e-4)
