"""Rotations that share variance equally among channels."""

import numpy as np
import pytest
import scipy.linalg
import torch

from bundle.losses.rotation import equalizing_rotation, hadamard_matrix, schur_horn_rotation

WITHOUT_HADAMARD = [3, 92, 100, 116, 770]
WITH_HADAMARD = [1, 2, 4, 12, 28, 36, 256, 384, 512, 768, 1024, 1152, 1280, 1408, 1536]


def spread(num_channels):
    """Eigenvalues over six orders of magnitude, as real features have."""
    return torch.logspace(-3, 3, num_channels, dtype=torch.float64)


@pytest.mark.parametrize("num_channels", [*WITHOUT_HADAMARD, 1, 2, 256, 768])
def test_every_diagonal_entry_becomes_the_mean_eigenvalue(num_channels):
    eigenvalues = spread(num_channels)
    rotation = equalizing_rotation(eigenvalues).numpy()
    diagonal = np.einsum("ij,j,ij->i", rotation, eigenvalues.numpy(), rotation)
    np.testing.assert_allclose(diagonal, eigenvalues.numpy().mean(), rtol=1e-10)


@pytest.mark.parametrize("num_channels", [*WITHOUT_HADAMARD, 256, 768])
def test_the_rotation_is_orthogonal(num_channels):
    rotation = equalizing_rotation(spread(num_channels)).numpy()
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(num_channels), atol=1e-12)


@pytest.mark.parametrize(
    "eigenvalues", [[1.0, 1.0, 1.0], [0.0, 0.0, 9.0], [0.0] * 50 + [1.0], [1.0, 1.0 + 1e-15, 1.0 - 1e-15], [5.0]]
)
def test_schur_horn_stands_equal_and_vanishing_eigenvalues(eigenvalues):
    eigenvalues = torch.tensor(eigenvalues, dtype=torch.float64)
    rotation = schur_horn_rotation(eigenvalues)
    diagonal = (rotation @ torch.diag(eigenvalues) @ rotation.T).diagonal()
    torch.testing.assert_close(diagonal, eigenvalues.mean().expand_as(diagonal), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", WITH_HADAMARD)
def test_a_hadamard_matrix_has_signs_for_entries_and_orthogonal_rows(order):
    matrix = hadamard_matrix(order).numpy()
    assert np.array_equal(np.abs(matrix), np.ones((order, order)))
    assert np.array_equal(matrix @ matrix.T, order * np.eye(order))


def test_a_hadamard_matrix_of_order_16_has_the_determinant_of_sylvesters():
    expected = abs(np.linalg.det(scipy.linalg.hadamard(16).astype(float)))
    np.testing.assert_allclose(abs(np.linalg.det(hadamard_matrix(16).numpy())), expected, rtol=1e-9)


@pytest.mark.parametrize("order", WITHOUT_HADAMARD)
def test_orders_without_a_known_construction_are_said_so(order):
    assert hadamard_matrix(order) is None
