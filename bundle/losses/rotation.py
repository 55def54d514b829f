"""Orthogonal matrices that share variance equally among channels: Hadamard where one is known, else Schur-Horn."""

import numpy as np
import torch
from torch import Tensor

_SYLVESTER = np.array([[1.0, 1.0], [1.0, -1.0]])


def equalizing_rotation(eigenvalues: Tensor) -> Tensor:
    """An orthogonal R for which every diagonal entry of R diag(eigenvalues) Rᵀ is their mean, for any length.

    Args:
        eigenvalues: Variances ``(C,)`` along the principal axes.

    Returns:
        R ``(C, C)`` in float64: H/√C if there is a Hadamard matrix of order C, else C − 1 Givens rotations.
    """
    hadamard = hadamard_matrix(len(eigenvalues))
    return hadamard / len(eigenvalues) ** 0.5 if hadamard is not None else schur_horn_rotation(eigenvalues)


def schur_horn_rotation(eigenvalues: Tensor) -> Tensor:
    """Equalize a diagonal by plane rotations, each of which brings one entry to the mean (Schur-Horn theorem).

    A channel below the mean is paired with one above it. Pairs that still wait are uncorrelated, as a rotation only
    correlates the channel that it finishes, so the angle follows from two variances:
    c² low + s² high = mean, with s² = (mean − low) / (high − low).
    """
    variances = eigenvalues.double().numpy().copy()
    mean = variances.mean()
    rotation = np.eye(len(variances))
    below = [int(i) for i in np.flatnonzero(variances < mean)]
    above = [int(i) for i in np.flatnonzero(variances > mean)]
    while below and above:
        low, high = below.pop(), above.pop()
        sine_squared = (mean - variances[low]) / (variances[high] - variances[low])
        sine, cosine = np.sqrt(sine_squared), np.sqrt(1 - sine_squared)
        pair = rotation[[low, high]]
        rotation[low], rotation[high] = cosine * pair[0] + sine * pair[1], cosine * pair[1] - sine * pair[0]
        variances[high] += variances[low] - mean
        variances[low] = mean
        if variances[high] < mean:
            below.append(high)
        elif variances[high] > mean:
            above.append(high)
    return torch.from_numpy(rotation)


def hadamard_matrix(order: int) -> Tensor | None:
    """A matrix of ±1 with orthogonal rows, by Paley's constructions over prime fields and Sylvester's doubling.

    Returns:
        H ``(order, order)`` in float64, or None where these constructions give none (92, 100, 116, 770 ...).
    """
    matrix = _hadamard(order)
    return None if matrix is None else torch.from_numpy(matrix)


def _hadamard(order: int) -> np.ndarray | None:
    if order <= 2:
        return _SYLVESTER[:order, :order].copy()
    if order % 4:
        return None
    if _is_prime(order - 1):  # order - 1 = 3 modulo 4: Paley's first construction
        matrix = np.ones((order, order))
        matrix[1:, 0] = -1
        matrix[1:, 1:] = _residue_matrix(order - 1) + np.eye(order - 1)
        return matrix
    prime = order // 2 - 1
    if prime % 4 == 1 and _is_prime(prime):  # Paley's second
        conference = np.ones((prime + 1, prime + 1))
        conference[0, 0] = 0
        conference[1:, 1:] = _residue_matrix(prime)
        return np.kron(conference, _SYLVESTER) + np.kron(np.eye(prime + 1), np.array([[1.0, -1.0], [-1.0, -1.0]]))
    half = _hadamard(order // 2)
    return None if half is None else np.kron(_SYLVESTER, half)


def _residue_matrix(prime: int) -> np.ndarray:
    """1 where column − row is a square modulo the prime, −1 where it is not, 0 on the diagonal."""
    character = np.full(prime, -1.0)
    character[np.arange(1, prime) ** 2 % prime] = 1.0
    character[0] = 0.0
    return character[(np.arange(prime) - np.arange(prime)[:, None]) % prime]


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
