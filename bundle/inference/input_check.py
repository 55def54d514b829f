"""How far pictures lie from those that the model was trained on, and which way the patient looks, before segmentation.

The student's features of a small frame, pooled, are compared with those of training frames: Mahalanobis' distance
(Lee et al. 2018, arXiv 1807.03888) in their principal components, with a covariance that is shrunk (Ledoit and Wolf
2004). ``scripts/laboratory/make_input_check.py`` fits it. What follows from it is decided in
``bundle.metrics.kinematics.verdict``.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.export.model_card import load_segmenter
from bundle.metrics.kinematics.verdict import Look
from bundle.students.encoder import StudentEncoder
from bundle.transforms.field_of_view import Window
from bundle.transforms.letterbox import letterbox
from bundle.weights import file_sha256, find_card, read_state_dict

EVERY = 8
"""One frame of this many is looked at, the first of a film among them."""

SIDE = 256
"""Of the frames that are looked at: a quarter of the pixels that the shipped network segments."""

GRID = 4
"""Places along a side at which the embedding is averaged."""

EMPTY = 0.05  # Between the 2nd and 98th percentile of a picture's grays, of [0, 1]
WHITE, OVER_EXPOSED = 0.98, 0.6  # A gray that is white; share of such pixels above which the picture is over-exposed
BLACK, COLLIMATED = 0.02, 0.9  # A gray that is black; share of such pixels above which hardly anything is in the beam

logger = logging.getLogger(__name__)


class PooledFeatures(NamedTuple):
    """Of a frame, whatever its size."""

    spread: Tensor  # Means and deviations of the trunk's maps and of the embedding (B, D)
    places: Tensor  # The embedding's means at ``GRID``² places (B, P), which tell where something lies


class InputCheck:
    """Looks at frames of a film, without its masks.

    Args:
        student: The encoder of the model, on the CPU.
        statistics: ``mean`` ``(D,)`` and ``projection`` ``(K, D)`` of the training frames' features, in which the
            length of a difference is its distance; the ``limit`` of distances; and ``side`` ``(P,)``, along which the
            places of a frame and of its mirror image differ. None: nothing is compared.
        sha256: Checksum of their file, by which results know what they were checked with.
        off: Why nothing is compared.
        writes_refused: Whether masks are also written of a study that is refused.
    """

    def __init__(
        self,
        student: StudentEncoder | None = None,
        statistics: Mapping[str, Tensor] | None = None,
        sha256: str = "",
        off: str = "",
        writes_refused: bool = False,
    ) -> None:
        self.student = student
        self.statistics = {name: value.float() for name, value in (statistics or {}).items()}
        self.sha256 = sha256
        self.off = off
        self.writes_refused = writes_refused

    def look(self, frames: np.ndarray, first: int, view: Window, pixel_aspect: float = 1.0) -> list[Look]:
        """Look at every ``EVERY``-th frame of a film.

        Args:
            frames: Some of its frames ``(n, 1, H, W)`` in [0, 1].
            first: Which of the film's frames the first of them is.
            view: Where the picture is.
            pixel_aspect: Height of a pixel divided by its width.
        """
        chosen = [index for index in range(len(frames)) if (first + index) % EVERY == 0]
        if not chosen:
            return []
        pictures = frames[chosen][(..., *view.slices())]
        distances = self.distances(small_frames(pictures, pixel_aspect)) if self.statistics else [None] * len(chosen)
        return [
            Look(first + index, exposure_of(picture), distance)
            for index, picture, distance in zip(chosen, pictures, distances, strict=True)
        ]

    def is_mirrored(self, frames: np.ndarray, view: Window, pixel_aspect: float = 1.0) -> bool:
        """Whether the patient looks the other way than those of the training; arguments as for ``look``."""
        if not self.statistics:
            return False
        pictures = small_frames(frames[(..., *view.slices())], pixel_aspect)
        turned = small_frames(frames[(..., *view.slices())][..., ::-1], pixel_aspect)
        difference = (self.features(pictures).places - self.features(turned).places) @ self.statistics["side"]
        return float(difference.mean()) > 0

    def distances(self, pictures: Tensor) -> list[float]:
        """Distances of frames ``(B, 1, SIDE, SIDE)`` from the training's; 1 is the limit."""
        difference = self.features(pictures).spread - self.statistics["mean"]
        lengths = (difference @ self.statistics["projection"].T).norm(dim=1)
        return (lengths / self.statistics["limit"]).tolist()

    def features(self, pictures: Tensor) -> PooledFeatures:
        """What is compared of frames ``(B, 1, SIDE, SIDE)``."""
        if self.student is None:
            raise ValueError(f"the input check is off: {self.off}")
        return pooled_features(self.student, pictures)


def load_input_check(checkpoint: str | Path, writes_refused: bool = False) -> InputCheck:
    """The check that belongs to a model's weights; without one that fits it is off, and says why.

    It is ``<name>_input.safetensors`` beside ``<name>.pt``, with a card that says to which weights it belongs.
    """
    path = statistics_path(checkpoint)
    card = find_card(path)
    off = _why_off(path, Path(checkpoint), card)
    if off:
        logger.warning("the input check is off: %s (%s; scripts/laboratory/make_input_check.py makes it)", off, path)
        return InputCheck(off=off, writes_refused=writes_refused)
    statistics = read_state_dict(path, card["sha256"])
    return InputCheck(load_segmenter(checkpoint).student, statistics, card["sha256"], writes_refused=writes_refused)


def statistics_path(checkpoint: str | Path) -> Path:
    """Where the statistics of a model's training frames are."""
    return Path(checkpoint).with_name(f"{Path(checkpoint).stem}_input.safetensors")


def _why_off(path: Path, checkpoint: Path, card: Mapping[str, Any]) -> str:
    if not path.is_file() or "checkpoint_sha256" not in card:
        return "statistics of the training's frames, with their card, are not beside the model's weights"
    if card["checkpoint_sha256"] != file_sha256(checkpoint):
        return "the statistics of the training's frames beside the model's weights were made for other weights"
    return ""


def small_frames(pictures: np.ndarray, pixel_aspect: float = 1.0) -> Tensor:
    """Pictures ``(B, 1, H, W)`` in [0, 1] letterboxed to ``(B, 1, SIDE, SIDE)``."""
    return letterbox(torch.from_numpy(np.ascontiguousarray(pictures, np.float32)), SIDE, pixel_aspect)[0]


def pooled_features(student: StudentEncoder, pictures: Tensor) -> PooledFeatures:
    """Features of frames ``(B, 1, SIDE, SIDE)`` by a student in evaluation mode."""
    with torch.inference_mode():
        stages = student.stages(pictures)
        embedding = student.fuse(stages[2], stages[3])
        maps: Sequence[Tensor] = (*stages, embedding)
        spread = [statistic for level in maps for statistic in (level.mean((2, 3)), level.std((2, 3)))]
        return PooledFeatures(torch.cat(spread, dim=1), F.adaptive_avg_pool2d(embedding, GRID).flatten(1))


def exposure_of(picture: np.ndarray) -> str:
    """Why nothing can be seen in a picture ``(1, H, W)`` in [0, 1]; empty where something can."""
    low, high = np.quantile(picture[..., ::4, ::4], (0.02, 0.98))
    if high - low < EMPTY:
        return "empty"
    if (picture >= WHITE).mean() > OVER_EXPOSED:
        return "over-exposed"
    return "collimated" if (picture <= BLACK).mean() > COLLIMATED else ""
