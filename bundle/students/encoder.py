"""The student: a light trunk inside SAM 2's own image encoder, so that all of SAM 2 accepts it."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from torch import Tensor, nn

from bundle.students.trunk import TimmTrunk
from bundle.teachers.base import IMAGENET_MEAN, IMAGENET_STD


class StudentEncoder(nn.Module):
    """Frames to SAM 2's image features: embedding at stride 16, high-resolution maps at strides 4 and 8.

    ``image_encoder`` is SAM 2's class with its own input convention (three channels, ImageNet's mean and deviation),
    so it can be put into any SAM 2 model; ``forward`` takes grayscale frames and normalizes them.

    Args:
        trunk: Backbone with strides 4, 8, 16, 32 and a ``channel_list`` from deep to shallow.
        embed_dim: Channels of every output map; 256 in every released SAM 2.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: TimmTrunk, embed_dim: int = 256) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        # SAM 2.1's neck: stride 16 also sees stride 32; strides 4 and 8 are lateral only (finer heads add
        # what is deeper: top_down); stride 32 is then dropped.
        neck = FpnNeck(
            position_encoding=PositionEmbeddingSine(num_pos_feats=embed_dim, normalize=True),
            d_model=embed_dim,
            backbone_channel_list=trunk.channel_list,
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        )
        self.image_encoder = ImageEncoder(trunk=trunk, neck=neck, scalp=1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    @property
    def trunk(self) -> TimmTrunk:
        """The light backbone."""
        return self.image_encoder.trunk

    @property
    def settings(self) -> dict[str, Any]:
        """What its weights belong to, by the names of the config."""
        return {"student_backbone": self.trunk.model_name, "embed_dim": self.embed_dim}

    def normalize(self, frames: Tensor) -> Tensor:  # (B, 1, H, W) in [0, 1] -> (B, 3, H, W)
        """Put grayscale frames into SAM 2's input convention (``sam2.utils.transforms.SAM2Transforms``)."""
        if frames.ndim != 4 or frames.shape[1] != 1:
            raise ValueError(f"the student takes grayscale frames (B, 1, H, W), got {tuple(frames.shape)}")
        if not torch.jit.is_tracing() and (frames.shape[2] % 32 or frames.shape[3] % 32):
            raise ValueError(f"frame sides must be multiples of 32, got {tuple(frames.shape[2:])}: letterbox them")
        # Channels-last is the faster layout for light convolutions on a CPU.
        return ((frames - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def forward(self, frames: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """SAM 2's dictionary of grayscale frames ``(B, 1, H, W)`` in [0, 1].

        Returns:
            ``vision_features`` ``(B, C, H/16, W/16)``, and ``backbone_fpn`` and ``vision_pos_enc``, lists of maps at
            strides 4, 8 and 16.
        """
        return self.image_encoder(self.normalize(frames))

    def embed(self, frames: Tensor) -> Tensor:
        """The embedding ``(B, C, H/16, W/16)`` of frames ``(B, 1, H, W)`` alone, without the other levels' cost."""
        return self.top_down(self.stages(frames), finest=16)[16]

    def stages(self, frames: Tensor) -> list[Tensor]:
        """The trunk's own maps of frames ``(B, 1, H, W)`` at strides 4, 8, 16 and 32."""
        return self.trunk(self.normalize(frames))

    def top_down(self, stages: Sequence[Tensor], finest: int = 4) -> dict[int, Tensor]:
        """Maps in which every level also sees all deeper ones, as in a feature pyramid (arXiv 1612.03144).

        Phase 1's finer heads read them, so that the laterals of strides 8 and 4 learn from teachers. SAM 2 shares these
        laterals but reads them alone, without what is deeper (``backbone_fpn``).

        Args:
            stages: From :meth:`stages`.
            finest: The smallest stride that is needed: 16, 8 or 4.

        Returns:
            Maps ``(B, C, H/s, W/s)`` by stride s, from 16, the embedding, down to ``finest``.
        """
        stride_4, stride_8, stride_16, stride_32 = stages
        maps = {16: self.fuse(stride_16, stride_32)}
        for stride, level, lateral in zip((8, 4), (stride_8, stride_4), self.image_encoder.neck.convs[2:], strict=True):
            if stride >= finest:
                maps[stride] = lateral(level) + F.interpolate(maps[2 * stride], scale_factor=2.0, mode="nearest")
        return maps

    def fuse(self, stride_16: Tensor, stride_32: Tensor) -> Tensor:
        """The neck's only top-down step: stride 32 added to stride 16."""
        deepest, lateral, *_ = self.image_encoder.neck.convs
        top_down = F.interpolate(deepest(stride_32).float(), scale_factor=2.0, mode="nearest")
        return lateral(stride_16) + top_down
