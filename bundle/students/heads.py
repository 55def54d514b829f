"""Projection heads: the student's embedding in each teacher's feature space. Used in training only."""

from collections.abc import Mapping

from torch import Tensor, nn

from bundle.students.encoder import StudentEncoder
from bundle.teachers.similarity import resize_features


class ProjectionHead(nn.Module):
    """Map the student's embedding onto one teacher's grid and into its channels, position by position.

    The paper's z = P(e) is a multi-layer perceptron per teacher; as 1 x 1 convolutions it sees one position at a time.
    The *student's* map is resized to the teacher's grid, so that the teacher's features, and their statistics, stay as
    they are; averaging when the grid is coarser, bilinear when it is finer.

    Args:
        in_channels: Channels of the student's embedding.
        out_channels: Channels of the teacher's features.
        grid_size: Side of the teacher's feature grid.
        hidden_channels: Width of the hidden layer; ``in_channels`` unless given.
    """

    def __init__(self, in_channels: int, out_channels: int, grid_size: int, hidden_channels: int | None = None) -> None:
        super().__init__()
        hidden_channels = hidden_channels or in_channels
        self.grid_size = grid_size
        self.project = nn.Sequential(
            nn.Conv2d(in_channels, hidden_channels, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(hidden_channels, out_channels, kernel_size=1),
        )

    def forward(self, embedding: Tensor) -> Tensor:  # (B, C_s, h_s, w_s) -> (B, C_t, h_t, w_t)
        return self.project(resize_features(embedding, self.grid_size))


class StudentWithHeads(nn.Module):
    """The student and one projection head per teacher: the network of phase 1.

    Args:
        student: Student encoder.
        heads: One head per teacher, by the teacher's name.
    """

    def __init__(self, student: StudentEncoder, heads: Mapping[str, ProjectionHead]) -> None:
        super().__init__()
        if not heads:
            raise ValueError("distillation needs at least one teacher, got none")
        self.student = student
        self.heads = nn.ModuleDict(heads)

    def forward(self, frames: Tensor) -> dict[str, Tensor | dict[str, Tensor]]:
        """Features of every teacher as the student predicts them.

        Args:
            frames: Grayscale frames ``(B, 1, H, W)`` in [0, 1].

        Returns:
            ``embedding`` ``(B, C_s, h, w)`` and ``features``, a map ``(B, C_t, h_t, w_t)`` per teacher.
        """
        embedding = self.student.embed(frames)
        return {"embedding": embedding, "features": {name: head(embedding) for name, head in self.heads.items()}}


def make_heads(embed_dim: int, teachers: Mapping[str, nn.Module]) -> dict[str, ProjectionHead]:
    """One head per teacher, fitted to its channels and grid."""
    return {
        name: ProjectionHead(embed_dim, teacher.embed_dim, teacher.grid_size)  # type: ignore[arg-type]
        for name, teacher in teachers.items()
    }
