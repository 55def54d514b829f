"""What a student's features know of each teacher, also of those it did not learn from, by a linear fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from sklearn.linear_model import Ridge
from torch import Tensor

from bundle.paths import ROOT
from bundle.phantom import generate_study
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.students.weights import load_student
from bundle.teachers.base import Teacher
from bundle.teachers.similarity import resize_features

FIRST_SEED = 36_000_000
"""Of the synthetic patients; no training uses them."""
NUM_FITTED, NUM_HELD_OUT, NUM_FRAMES = 16, 8, 4
RIDGE = 1e-2
"""Penalty, relative to the mean variance of a student's channel."""

STRIDE = 16


class TeacherProbe:
    """Teachers' features of fixed synthetic frames, to be predicted from a student's embedding by ridge regression.

    Args:
        teachers: How each is loaded, by name, as in ``configs/distill.json``.
        image_size: Side of the frames in pixels.
    """

    def __init__(self, teachers: Mapping[str, Any], image_size: int) -> None:
        self.frames = torch.cat([_frames(patient, image_size) for patient in range(NUM_FITTED + NUM_HELD_OUT)])
        self.grid_size = image_size // STRIDE
        parser = ConfigParser({"bundle_root": str(ROOT), "teachers": dict(teachers)})
        self.targets = {
            name: self._rows(_features(teacher, self.frames))
            for name, teacher in parser.get_parsed_content("teachers").items()
        }

    def unexplained(self, student: StudentEncoder) -> dict[str, float]:
        """Share of each teacher's variance on held-out patients that a linear map of the embedding does not explain.

        Args:
            student: In any mode; it is left in evaluation mode.

        Returns:
            By teacher: 0 is all known, 1 is no better than the teacher's mean.
        """
        student.eval()
        with torch.no_grad():
            embedding = torch.cat([student.embed(batch) for batch in self.frames.split(16)])
        inputs = self._rows(embedding)
        return {name: unexplained(inputs, targets, self._num_fitted) for name, targets in self.targets.items()}

    @property
    def _num_fitted(self) -> int:
        return NUM_FITTED * NUM_FRAMES * self.grid_size**2

    def _rows(self, features: Tensor) -> Tensor:  # (B, C, h, w) -> (B * g * g, C)
        return resize_features(features.double(), self.grid_size).flatten(2).transpose(1, 2).flatten(0, 1)


def unexplained(inputs: Tensor, targets: Tensor, num_fitted: int) -> float:
    """Fit ``targets`` linearly from ``inputs`` on the first rows, and measure the error on the others.

    Args:
        inputs: ``(N, C)``, float64.
        targets: ``(N, D)``, float64.
        num_fitted: Rows that are fitted.

    Returns:
        Squared error over the squared distance from the fitted rows' mean; over all channels together.
    """
    fitted, known = inputs[:num_fitted].numpy(), targets[:num_fitted].numpy()
    penalty = RIDGE * num_fitted * fitted.var(axis=0).mean()
    found = Ridge(alpha=penalty).fit(fitted, known).predict(inputs[num_fitted:].numpy())
    truth = targets[num_fitted:].numpy()
    found = found.reshape(truth.shape)  # of one channel it is flat
    return float(((truth - found) ** 2).sum() / ((truth - known.mean(axis=0)) ** 2).sum())


def read_student(path: Path | None, backbone: str, seed: int) -> StudentEncoder:
    """A student of phase 1's file; without one, of the random weights of a seed.

    Args:
        path: ``student.pt``.
        backbone: timm's name.
        seed: Of the random weights; the caller's random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = StudentEncoder(TimmTrunk(backbone))
    return load_student(student, path)


@torch.no_grad()
def _features(teacher: Teacher, frames: Tensor) -> Tensor:
    return torch.cat([teacher(batch) for batch in frames.split(16)])


def _frames(patient: int, size: int) -> Tensor:  # (T, 1, H, W) in [0, 1]
    return torch.from_numpy(generate_study(FIRST_SEED + patient, size, NUM_FRAMES).frames)
