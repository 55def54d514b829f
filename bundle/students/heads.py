"""Projection heads: the student's maps in each teacher's feature space. For training and for a teacher's decoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from bundle.students.encoder import StudentEncoder
from bundle.teachers.similarity import resize_features
from bundle.weights import load_strict, read_state_dict


class ProjectionHead(nn.Module):
    """Map the student's features onto one teacher's grid and into its channels, position by position.

    The paper's z = P(e) is a multi-layer perceptron per teacher; as 1 x 1 convolutions it sees one position at a time.
    A normalization before it gives every student's map, of whatever level, one scale. The *student's* map is resized to
    the teacher's grid, so that the teacher's features, and their statistics, stay as they are; averaging when the grid
    is coarser, bilinear when it is finer.

    Args:
        in_channels: Channels of the student's maps.
        out_channels: Channels of the teacher's features.
        grid_size: Side of the teacher's feature grid.
        hidden_channels: Width of the hidden layer; ``in_channels`` unless given.
        is_fine: Whether the head reads a map that is as fine as the grid; else always the embedding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid_size: int,
        hidden_channels: int | None = None,
        is_fine: bool = True,
    ) -> None:
        super().__init__()
        hidden_channels = hidden_channels or in_channels
        self.grid_size, self.is_fine = grid_size, is_fine
        self.norm = LayerNorm2d(in_channels)
        self.project = nn.Sequential(
            nn.Conv2d(in_channels, hidden_channels, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(hidden_channels, out_channels, kernel_size=1),
        )

    def stride(self, embedding_grid: int) -> int:
        """Stride of the map that the head reads: the coarsest at least as fine as its grid, if there is one.

        ``embedding_grid`` is the side of the student's embedding, at stride 16.
        """
        if not self.is_fine:
            return 16
        return next((stride for stride in (16, 8) if embedding_grid * 16 // stride >= self.grid_size), 4)

    def forward(self, features: Tensor) -> Tensor:  # (B, C_s, h_s, w_s) -> (B, C_t, h_t, w_t)
        return self.project(self.norm(resize_features(features, self.grid_size)))


class StudentWithHeads(nn.Module):
    """The student and one projection head per teacher, by the teacher's name: the network of phase 1."""

    def __init__(self, student: StudentEncoder, heads: Mapping[str, ProjectionHead]) -> None:
        super().__init__()
        if not heads:
            raise ValueError("distillation needs at least one teacher, got none")
        self.student = student
        self.heads = nn.ModuleDict(heads)

    def forward(self, frames: Tensor) -> dict[str, Tensor | dict[str, Tensor]]:
        """From grayscale frames ``(B, 1, H, W)``: ``embedding`` and ``features``, a map per teacher."""
        return predict_features(self.student, self.heads, self.student.stages(frames))


def predict_features(
    student: StudentEncoder, heads: nn.ModuleDict, stages: Sequence[Tensor]
) -> dict[str, Tensor | dict[str, Tensor]]:
    """``embedding`` ``(B, C_s, h, w)`` and ``features``, a map ``(B, C_t, h_t, w_t)`` per teacher.

    Args:
        student: The student.
        heads: One :class:`ProjectionHead` per teacher, by the teacher's name.
        stages: From :meth:`StudentEncoder.stages`; only levels that a head reads are computed further.
    """
    strides: dict[str, int] = {name: head.stride(stages[2].shape[-1]) for name, head in heads.items()}  # type: ignore[operator]
    maps = student.top_down(stages, min(strides.values()))
    return {"embedding": maps[16], "features": {name: head(maps[strides[name]]) for name, head in heads.items()}}


def make_heads(embed_dim: int, teachers: Mapping[str, nn.Module], is_fine: bool = True) -> dict[str, ProjectionHead]:
    """One head per teacher, fitted to its channels and grid; ``embed_dim`` are the student's channels."""
    return {
        name: ProjectionHead(embed_dim, teacher.embed_dim, teacher.grid_size, is_fine=is_fine)  # type: ignore[arg-type]
        for name, teacher in teachers.items()
    }


def load_heads(heads: Mapping[str, ProjectionHead], checkpoint: str | Path) -> nn.ModuleDict:
    """Load phase 1's ``heads.pt`` strictly into heads for the same teachers and ``embed_dim``, in place.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its keys or shapes are not these heads'.
    """
    modules = nn.ModuleDict({"heads": nn.ModuleDict(heads)})
    load_strict(modules, read_state_dict(Path(checkpoint)), Path(checkpoint), ignore_prefixes=("inverse.",))
    return modules["heads"]  # type: ignore[return-value]


def with_inverses(heads: nn.ModuleDict, standardizers: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """What ``heads.pt`` holds: ``heads`` as they are, and under ``inverse`` one :func:`inverse_layer` per teacher."""
    layers = {name: inverse_layer(standardizers[name], head.project[-1].out_channels) for name, head in heads.items()}  # type: ignore[index, union-attr]
    return nn.ModuleDict({"heads": heads, "inverse": nn.ModuleDict(layers)})


@torch.no_grad()
def inverse_layer(standardizer: nn.Module, num_channels: int) -> nn.Conv2d:
    """A standardizer's inverse, back to the teacher's own units, as a frozen 1 x 1 convolution: all kinds are affine.

    So a trained head goes with the very standardizer that it was trained for, whose eigenvectors have no fixed sign.
    """
    device = next(standardizer.buffers()).device
    tokens = torch.cat([torch.zeros(1, num_channels), torch.eye(num_channels)]).to(device)
    inverse: Tensor = standardizer.inverse(tokens[:, :, None, None])  # type: ignore[operator]
    bias, *columns = inverse[:, :, 0, 0]
    layer = nn.Conv2d(num_channels, num_channels, kernel_size=1, device=device).requires_grad_(False)
    layer.weight.copy_((torch.stack(columns) - bias).T[:, :, None, None])
    layer.bias.copy_(bias)  # type: ignore[union-attr]
    return layer
