"""Automatic masks: one learned query per structure, all structures in a single pass of SAM 2's mask decoder."""

from typing import NamedTuple

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn


class StructureMasks(NamedTuple):
    """What the automatic decoder says of ``S`` structures."""

    masks: Tensor
    """Mask logits ``(B, S, H/4, W/4)``, not yet limited by presence."""
    iou: Tensor
    """Expected intersection over union of each mask ``(B, S)``, in [0, 1]."""
    presence: Tensor
    """Logits of "the structure is in this frame" ``(B, S)``."""


class StructureQueries(nn.Module):
    """Queries that take the place of SAM 2's prompt tokens, and the heads that read them after the transformer.

    The two-way transformer and the upscaling are the mask decoder's own, shared with prompted segmentation; twelve
    queries in one pass cost little more than one, twelve passes cost more than the light encoder.

    Args:
        num_structures: Number of structures ``S``.
        embed_dim: Width of the decoder's transformer.
    """

    def __init__(self, num_structures: int, embed_dim: int = 256) -> None:
        super().__init__()
        self.queries = nn.Embedding(num_structures, embed_dim)
        self.hypernetwork = MLP(embed_dim, embed_dim, embed_dim // 8, num_layers=3)
        self.quality = MLP(embed_dim, embed_dim, 2, num_layers=3)

    def forward(
        self, decoder: MaskDecoder, embedding: Tensor, position: Tensor, high_res_features: tuple[Tensor, Tensor]
    ) -> StructureMasks:
        """Masks of every structure.

        Args:
            decoder: SAM 2's mask decoder.
            embedding: Image embedding with the "no mask prompt" embedding added ``(B, C, h, w)``.
            position: Positional encoding of the grid ``(1, C, h, w)``.
            high_res_features: The decoder's projections at strides 4 ``(B, C/8, 4h, 4w)`` and 8 ``(B, C/4, 2h, 2w)``.
        """
        batch_size, channels, height, width = embedding.shape
        tokens = self.queries.weight.unsqueeze(0).expand(batch_size, -1, -1)
        tokens, embedding = decoder.transformer(embedding, position.expand(batch_size, -1, -1, -1), tokens)
        embedding = embedding.transpose(1, 2).reshape(batch_size, channels, height, width)
        upscaled = upscale(decoder, embedding, high_res_features)
        masks = torch.einsum("bsc,bchw->bshw", self.hypernetwork(tokens), upscaled)
        iou, presence = self.quality(tokens).unbind(-1)
        return StructureMasks(masks, iou.sigmoid(), presence)


def upscale(decoder: MaskDecoder, embedding: Tensor, high_res_features: tuple[Tensor, Tensor]) -> Tensor:
    """SAM 2's upscaling from stride 16 to stride 4, with the high-resolution features added on the way."""
    stride_4, stride_8 = high_res_features
    first, norm, first_activation, second, second_activation = decoder.output_upscaling
    upscaled = first_activation(norm(first(embedding) + stride_8))
    return second_activation(second(upscaled) + stride_4)
