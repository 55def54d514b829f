"""CKA tells alike teachers from different ones; the picture shows features."""

import numpy as np
import pytest
import torch
from torch.linalg import qr

from bundle.teachers.similarity import LinearCKA, pca_picture, resize_features


def features(batch=2, channels=5, size=4, seed=0):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(seed))


def cka_of(**named):
    cka = LinearCKA(grid_size=4)
    cka.update(named)
    return cka.compute()[1][0, 1].item()


def test_cka_is_the_normalized_alignment_of_centered_gram_matrices():
    a, b = features(channels=3), features(channels=5, seed=1)
    rows = [value.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for value in (a, b)]
    # From the definition, over Gram matrices of all positions: tr(K H L H) / sqrt(tr(K H K H) tr(L H L H)).
    center = np.eye(len(rows[0])) - 1 / len(rows[0])
    k, ell = (center @ x @ x.T @ center for x in rows)
    expected = np.trace(k @ ell) / np.sqrt(np.trace(k @ k) * np.trace(ell @ ell))
    assert cka_of(a=a, b=b) == pytest.approx(expected, abs=1e-9)


def test_a_rotated_scaled_and_shifted_copy_has_cka_one():
    rotation = qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)))[0]
    copy = 7 * torch.einsum("ij,bjhw->bihw", rotation, features()) + 2
    assert cka_of(a=features(), b=copy) == pytest.approx(1, abs=1e-6)


def test_independent_features_have_a_small_cka():
    assert cka_of(a=features(batch=64), b=features(batch=64, seed=1)) < 0.05


def test_batches_add_up_to_the_whole():
    whole, parts = LinearCKA(grid_size=4), LinearCKA(grid_size=4)
    a, b = features(batch=4), features(batch=4, channels=7, seed=1)
    whole.update({"a": a, "b": b})
    for part in range(4):
        parts.update({"a": a[part : part + 1], "b": b[part : part + 1]})
    names, matrix = parts.compute()
    assert names == ["a", "b"]
    torch.testing.assert_close(matrix, whole.compute()[1])
    torch.testing.assert_close(matrix.diagonal(), torch.ones(2, dtype=torch.float64))


def test_teachers_of_different_grids_are_compared_on_a_common_one():
    assert cka_of(a=features(size=8), b=features(size=2, seed=1)) <= 1
    assert resize_features(torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]]), 1).item() == 3.0


def test_comparing_nothing_or_other_teachers_is_an_error():
    cka = LinearCKA(grid_size=2)
    with pytest.raises(ValueError, match="call update first"):
        cka.compute()
    cka.update({"a": features()})
    with pytest.raises(ValueError, match=r"must be those of \{'a': 5\}, got \{'b': 5\}"):
        cka.update({"b": features()})


def test_the_picture_has_a_row_per_frame_and_a_column_per_teacher():
    picture = pca_picture({"a": features(), "b": features(channels=2, size=3), "c": features(channels=1)}, tile_size=12)
    assert picture.shape == (24, 36, 3)
    assert picture.dtype == np.uint8


def test_positions_with_equal_features_have_equal_colors():
    left_right = torch.zeros(1, 4, 2, 2)
    left_right[0, :, :, 1] = torch.tensor([[1.0], [2.0], [0.0], [0.0]])
    tile = pca_picture({"a": left_right}, tile_size=2)
    assert (tile[0] == tile[1]).all()
    assert abs(int(tile[0, 0, 0]) - int(tile[0, 1, 0])) == 255


@pytest.mark.parametrize("seed", range(8))
def test_more_of_the_leading_channel_is_always_brighter(seed):
    # The sign of a principal component is arbitrary; colors must not flip from one epoch's picture to the next.
    ramp = 0.1 * features(batch=1, channels=6, seed=seed)
    ramp[0, seed % 6] += 10 * torch.arange(4.0)
    red = pca_picture({"a": ramp}, tile_size=4)[..., 0].astype(int)
    assert (np.diff(red.mean(axis=0)) > 0).all()
