"""A segmenter as a complete SAM 2 model, for SAM 2's own image and video predictors."""

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

from bundle.segmentation.memory import check_student, load_memory
from bundle.segmentation.segmenter import STRIDE, Segmenter
from bundle.segmentation.structure_decoder import StructureDecoder

MEMORY_DIM = 64
Model = TypeVar("Model", bound=SAM2Base)


@dataclass(frozen=True)
class MemorySize:
    """How much memory costs; SAM 2.1's by default, far more than the student."""

    num_layers: int = 4
    """Layers of memory attention."""
    feedforward_dim: int = 2048
    """Width within a layer."""
    num_frames: int = 7
    """Frames whose maps are remembered: the prompted ones, which count as one, and the latest before."""


LIGHT_MEMORY = MemorySize(num_layers=1, feedforward_dim=1024, num_frames=3)
"""The default of trackers."""


def build_sam2(
    segmenter: Segmenter, model_class: type[Model] = SAM2Base, memory_size: MemorySize | None = None
) -> Model:
    """Assemble SAM 2.1 around the segmenter's student, prompt encoder and mask decoder, which it shares.

    Memory attention, memory encoder and object pointers have SAM 2.1's structure; they are *not* trained by phase 2.
    For tracking there is :func:`build_tracker`.

    Returns:
        A ``SAM2Base`` or ``SAM2VideoPredictor``, in evaluation mode. Its image embedding carries no "no memory" offset,
        because the segmenter was trained without one: on a still frame it gives the segmenter's masks.
    """
    embed_dim = segmenter.student.embed_dim
    memory_size = MemorySize() if memory_size is None else memory_size
    model = model_class(
        image_encoder=segmenter.student.image_encoder,
        memory_attention=_memory_attention(embed_dim, segmenter.image_size // STRIDE, memory_size),
        memory_encoder=_memory_encoder(embed_dim),
        num_maskmem=memory_size.num_frames,
        image_size=segmenter.image_size,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
    )
    model.sam_prompt_encoder = segmenter.prompt_encoder
    model.sam_mask_decoder = segmenter.mask_decoder
    torch.nn.init.zeros_(model.no_mem_embed)
    return model.eval()


def image_predictor(segmenter: Segmenter) -> SAM2ImagePredictor:
    """SAM 2's image predictor on the segmenter; SAM 2's own assumes frames of 1024 pixels."""
    predictor = SAM2ImagePredictor(build_sam2(segmenter))
    predictor._bb_feat_sizes = [(segmenter.image_size // stride,) * 2 for stride in (4, 8, STRIDE)]
    return predictor


def build_tracker(segmenter: Segmenter, memory_size: MemorySize = LIGHT_MEMORY) -> SAM2VideoPredictor:
    """SAM 2's video predictor for the segmenter's structures, with a memory that is yet to be trained.

    It shares the student. Prompt encoder and mask decoder are copies that become the memory's own: they are trained
    with it, and the segmenter's answers stay what they are.
    """
    model = build_sam2(segmenter, SAM2VideoPredictor, memory_size)
    model.sam_prompt_encoder = copy.deepcopy(segmenter.prompt_encoder)
    model.sam_mask_decoder = StructureDecoder(segmenter, model.sam_prompt_encoder.not_a_point_embed)
    model.multimask_output_in_sam = False  # a name is not ambiguous
    model.add_all_frames_to_correct_as_cond = True  # else tracking would overwrite what a person has corrected
    return model.eval()


def load_tracker(
    segmenter: Segmenter, checkpoint: str | Path, memory_size: MemorySize = LIGHT_MEMORY
) -> SAM2VideoPredictor:
    """A trained tracker, for :class:`bundle.segmentation.propagation.ClipTracker`.

    Args:
        segmenter: The segmenter that the memory was trained on, in evaluation mode.
        checkpoint: What training the memory wrote (``configs/train_memory.json``).
        memory_size: The size that the memory was trained with.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its keys or shapes are not this memory's, or the card beside it names another student.
    """
    check_student(segmenter.student, checkpoint)
    tracker = build_tracker(segmenter, memory_size)
    load_memory(tracker, checkpoint)
    return tracker


def _memory_attention(embed_dim: int, grid_size: int, size: MemorySize) -> MemoryAttention:
    grid = (grid_size, grid_size)
    rope_attention = partial(
        RoPEAttention, rope_theta=10000.0, feat_sizes=grid, embedding_dim=embed_dim, num_heads=1, dropout=0.1
    )
    layer = MemoryAttentionLayer(
        activation="relu",
        cross_attention=rope_attention(rope_k_repeat=True, kv_in_dim=MEMORY_DIM),
        d_model=embed_dim,
        dim_feedforward=size.feedforward_dim,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=rope_attention(),
    )
    return MemoryAttention(d_model=embed_dim, pos_enc_at_input=True, layer=layer, num_layers=size.num_layers)


def _memory_encoder(embed_dim: int) -> MemoryEncoder:
    block = CXBlock(embed_dim, kernel_size=7, padding=3, layer_scale_init_value=1e-6, use_dwconv=True)
    return MemoryEncoder(
        out_dim=MEMORY_DIM,
        mask_downsampler=MaskDownSampler(embed_dim, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(block, num_layers=2),
        position_encoding=PositionEmbeddingSine(num_pos_feats=MEMORY_DIM, normalize=True),
        in_dim=embed_dim,
    )
