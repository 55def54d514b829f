"""The network of phase 2 when phase 1's loss is retained: the segmenter, and the projection heads on its embedding."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bundle.segmentation.segmenter import TrainingSegmenter
from bundle.students.heads import ProjectionHead, predict_features
from bundle.teachers.checkpoint import load_strict, read_state_dict


class RetainingSegmenter(nn.Module):
    """A training segmenter that also predicts every teacher's features from the same encoding.

    Args:
        network: The network of phase 2.
        heads: One head per teacher, by the teacher's name.
    """

    def __init__(self, network: TrainingSegmenter, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.network, self.heads = network, heads

    def forward(self, frames: Tensor, points: Tensor, point_labels: Tensor) -> dict[str, Any]:
        """What :class:`TrainingSegmenter` returns, and ``features``: a map ``(B, C_t, h_t, w_t)`` per teacher."""
        output = self.network(frames, points, point_labels)
        student = self.network.segmenter.student
        return {**output, **predict_features(student, self.heads, output["stages"])}


def load_heads(heads: Mapping[str, ProjectionHead], checkpoint: str | Path) -> nn.ModuleDict:
    """Load phase 1's projection heads strictly.

    Args:
        heads: Heads for the same teachers and ``embed_dim``; changed in place.
        checkpoint: Phase 1's ``heads.pt``.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its keys or shapes are not these heads'.
    """
    modules = nn.ModuleDict({"heads": nn.ModuleDict(heads)})
    load_strict(modules, read_state_dict(Path(checkpoint)), Path(checkpoint), ignore_prefixes=("inverse.",))
    return modules["heads"]  # type: ignore[return-value]
