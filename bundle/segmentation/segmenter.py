"""The student inside SAM 2: frames to masks, automatic or from prompts (arXiv 2408.00714, section 4)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn

from bundle.students.encoder import StudentEncoder

STRIDE = 16


class ImageFeatures(NamedTuple):
    """A frame as the mask decoder needs it; computed once, then asked for many masks."""

    embedding: Tensor  # (B, C, H/16, W/16)
    high_res_features: tuple[Tensor, Tensor]
    """The decoder's projections at stride 4 ``(B, C/8, H/4, W/4)`` and stride 8 ``(B, C/4, H/8, W/8)``."""


class PromptedMasks(NamedTuple):
    """SAM 2's four candidates for one prompted object: the first for clear prompts, the others for ambiguous ones."""

    masks: Tensor  # logits (B, 4, H/4, W/4)
    iou: Tensor  # expected intersection over union (B, 4)


class StructureMasks(NamedTuple):
    """What the automatic decoder says of ``S`` structures."""

    masks: Tensor  # logits (B, S, H/4, W/4), not yet limited by presence
    iou: Tensor  # expected intersection over union (B, S), in [0, 1]
    presence: Tensor  # logits (B, S) of "the structure is in this frame"


class StructureQueries(nn.Module):
    """One learned query per structure in place of SAM 2's prompt tokens, and the heads that read them afterwards.

    The two-way transformer and the upscaling are the mask decoder's own, shared with prompted segmentation; twelve
    queries in one pass cost little more than one, twelve passes cost more than the light encoder.
    """

    def __init__(self, num_structures: int, embed_dim: int = 256) -> None:
        super().__init__()
        self.queries = nn.Embedding(num_structures, embed_dim)
        self.hypernetwork = MLP(embed_dim, embed_dim, embed_dim // 8, num_layers=3)
        self.quality = MLP(embed_dim, embed_dim, 2, num_layers=3)

    def forward(
        self, decoder: MaskDecoder, embedding: Tensor, position: Tensor, high_res_features: tuple[Tensor, Tensor]
    ) -> StructureMasks:
        """Masks of every structure, from an embedding with the "no mask prompt" embedding added ``(B, C, h, w)``."""
        batch_size, channels, height, width = embedding.shape
        tokens = self.queries.weight.unsqueeze(0).expand(batch_size, -1, -1)
        tokens, embedding = decoder.transformer(embedding, position.expand(batch_size, -1, -1, -1), tokens)
        embedding = embedding.transpose(1, 2).reshape(batch_size, channels, height, width)
        upscaled = upscale(decoder, embedding, high_res_features)
        masks = torch.einsum("bsc,bchw->bshw", self.hypernetwork(tokens), upscaled)
        iou, presence = self.quality(tokens).unbind(-1)
        return StructureMasks(masks, iou.sigmoid(), presence)


class Segmenter(nn.Module):
    """A student encoder with SAM 2's prompt encoder and mask decoder, and a query per structure.

    Args:
        student: Student encoder.
        structures: Different names, at least one, in channel order.
        image_size: Side of the square input frames; a multiple of 32.
    """

    def __init__(self, student: StudentEncoder, structures: Sequence[str], image_size: int) -> None:
        super().__init__()
        if not structures or len(set(structures)) != len(structures):
            raise ValueError(f"structures must be different names, at least one, got {list(structures)}")
        if image_size <= 0 or image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, got {image_size}")
        embed_dim, grid_size = student.embed_dim, image_size // STRIDE
        self.structures = tuple(structures)
        self.image_size = image_size
        self.student = student
        self.prompt_encoder, self.mask_decoder = make_decoder(embed_dim, grid_size, image_size)
        self.structure_queries = StructureQueries(len(structures), embed_dim)

    @property
    def settings(self) -> dict[str, Any]:
        """What its weights belong to, by the names of the config."""
        return self.student.settings | {"image_size": self.image_size, "structures": list(self.structures)}

    def encode(self, frames: Tensor) -> ImageFeatures:
        """Encode grayscale frames ``(B, 1, H, W)`` in [0, 1].

        At strides 4 and 8 SAM 2 widens the trunk's map to ``C`` channels in the neck and narrows it again in the
        decoder, with nothing between the two 1 x 1 convolutions. They are applied as the one convolution they amount
        to: the same values and gradients, for a fraction of the time and memory.
        """
        return self.project_stages(self.student.stages(frames))

    def project_stages(self, stages: Sequence[Tensor]) -> ImageFeatures:
        """:meth:`encode` from the trunk's maps at strides 4, 8, 16 and 32."""
        stride_4, stride_8, stride_16, stride_32 = stages
        *_, lateral_8, lateral_4 = self.student.image_encoder.neck.convs
        high_res_features = (
            convolve_both(stride_4, lateral_4.conv, self.mask_decoder.conv_s0),
            convolve_both(stride_8, lateral_8.conv, self.mask_decoder.conv_s1),
        )
        return ImageFeatures(self.student.fuse(stride_16, stride_32), high_res_features)

    def decode_structures(self, features: ImageFeatures) -> StructureMasks:
        """Masks of all structures in one decoder pass."""
        embedding = features.embedding + self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        grid = (embedding.shape[-2], embedding.shape[-1])
        position = self.prompt_encoder.pe_layer(grid).unsqueeze(0)
        return self.structure_queries(self.mask_decoder, embedding, position, features.high_res_features)

    def decode_prompts(
        self, features: ImageFeatures, points: Tensor, point_labels: Tensor, mask: Tensor | None = None
    ) -> PromptedMasks:
        """Masks of one prompted object per frame.

        Args:
            features: From :meth:`encode`, of square frames with side ``image_size``.
            points: ``(B, N, 2)``, x and y in pixels of the input frame.
            point_labels: ``(B, N)``: 1 inside, 0 outside, 2 and 3 a box's top-left and bottom-right corner, -1 none.
            mask: Logits of an earlier mask ``(B, 1, H/4, W/4)``, to be corrected.
        """
        sparse, dense = self.prompt_encoder(points=(points, point_labels), boxes=None, masks=mask)
        masks, iou, _, _ = self.mask_decoder.predict_masks(
            image_embeddings=features.embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=features.high_res_features,
        )
        return PromptedMasks(masks, iou)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits ``(B, S, H, W)`` of automatic masks of frames ``(B, 1, H, W)`` in [0, 1], at full resolution.

        No pixel is more likely than its structure's presence: a structure that is judged absent has none above 0.
        """
        output = self.decode_structures(self.encode(frames))
        masks = torch.minimum(output.masks, output.presence[:, :, None, None])
        return F.interpolate(masks, size=frames.shape[-2:], mode="bilinear", align_corners=False)


def make_decoder(
    embed_dim: int, grid_size: int, image_size: int, is_sam2: bool = True
) -> tuple[PromptEncoder, MaskDecoder]:
    """SAM's prompt encoder and mask decoder, with random weights.

    Args:
        embed_dim: Channels of the image embedding.
        grid_size: Its side.
        image_size: Side of the frames, in whose pixels prompts are given.
        is_sam2: As in SAM 2.1's released configurations; else as in SAM, without high-resolution features and scores.
    """
    prompt_encoder = PromptEncoder(
        embed_dim=embed_dim,
        image_embedding_size=(grid_size, grid_size),
        input_image_size=(image_size, image_size),
        mask_in_chans=16,
    )
    mask_decoder = MaskDecoder(
        transformer_dim=embed_dim,
        transformer=TwoWayTransformer(depth=2, embedding_dim=embed_dim, num_heads=8, mlp_dim=2048),
        use_high_res_features=is_sam2,
        iou_prediction_use_sigmoid=is_sam2,
        pred_obj_scores=is_sam2,
        pred_obj_scores_mlp=is_sam2,
        use_multimask_token_for_obj_ptr=is_sam2,
    )
    return prompt_encoder, mask_decoder


def upscale(decoder: MaskDecoder, embedding: Tensor, high_res_features: tuple[Tensor, Tensor]) -> Tensor:
    """SAM 2's upscaling from stride 16 to stride 4, with the high-resolution features added on the way."""
    stride_4, stride_8 = high_res_features
    first, norm, first_activation, second, second_activation = decoder.output_upscaling
    upscaled = first_activation(norm(first(embedding) + stride_8))
    return second_activation(second(upscaled) + stride_4)


def convolve_both(features: Tensor, first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """``second(first(features))`` of two 1 x 1 convolutions, as one."""
    matrix = second.weight[:, :, 0, 0]
    weight = matrix @ first.weight[:, :, 0, 0]
    bias = matrix @ first.bias + second.bias  # type: ignore[operator]
    return F.conv2d(features, weight[:, :, None, None], bias)
