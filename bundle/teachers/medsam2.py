"""MedSAM2's image encoder: SAM 2.1 with the Hiera-T trunk, fine-tuned at 512² (Ma et al. 2025, arXiv 2504.03600)."""

import itertools
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from torch import Tensor, nn

from bundle.teachers.base import IMAGENET_MEAN, IMAGENET_STD, Teacher
from bundle.teachers.find import find_checkpoint
from bundle.weights import describe_weights, load_strict, read_state_dict

FILES = ("MedSAM2_latest.pt", "model.safetensors")
STRIDE = 16  # of SAM 2's image embedding: the trunk's third stage
OTHER_PARTS = (  # of a whole SAM 2.1 checkpoint, beside its image encoder
    "sam_prompt_encoder.",
    "sam_mask_decoder.",
    "memory_attention.",
    "memory_encoder.",
    "mask_downsample.",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "maskmem_tpos_enc",
    "no_mem_embed",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
)

DECODER_PARTS = ("sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
"""Of these, what answers prompts on a still image."""

HIGH_RES = ("_s0", "_s1")
"""Names of the high-resolution features, after the teacher's own: at strides 4 and 8."""


class MedSAM2(nn.Module):
    """SAM 2.1's image encoder; the defaults are MedSAM2's.

    The features are SAM 2's image embedding at stride 16, before any memory is added. ``image_encoder`` itself also
    gives the two finer levels that the mask decoder uses.

    Args:
        input_size: Side of the square input, a multiple of 32.
        embed_dim: Channels of the trunk's first stage; each next stage has twice as many.
        stages: Blocks in each of the four stages.
        global_att_blocks: Indices of the blocks with attention over the whole image rather than windows; never the
            first block of a stage after the first, which pools window by window.
        window_spec: Window sizes of the four stages.
        neck_dim: Channels of the neck, and so of the features.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self,
        input_size: int = 512,
        embed_dim: int = 96,
        stages: tuple[int, int, int, int] = (1, 2, 7, 2),
        global_att_blocks: tuple[int, ...] = (5, 7, 9),
        window_spec: tuple[int, int, int, int] = (8, 4, 14, 7),
        neck_dim: int = 256,
    ) -> None:
        super().__init__()
        if input_size % 32:
            raise ValueError(f"input_size must be a multiple of 32, SAM 2's coarsest stride, got {input_size}")
        _check_global_blocks(stages, global_att_blocks)
        self.input_size, self.grid_size, self.embed_dim = input_size, input_size // STRIDE, neck_dim
        trunk = Hiera(
            embed_dim=embed_dim,
            stages=stages,
            global_att_blocks=global_att_blocks,
            window_spec=window_spec,
            window_pos_embed_bkg_spatial_size=(7, 7),
        )
        # SAM 2 never reads the position encoding of an encoder used on its own, but asks for one. It has no weights.
        neck = FpnNeck(
            position_encoding=PositionEmbeddingSine(neck_dim, normalize=True),
            d_model=neck_dim,
            backbone_channel_list=trunk.channel_list,
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        )
        self.image_encoder = ImageEncoder(trunk=trunk, neck=neck, scalp=1)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, C, S / 16, S / 16)
        # image_encoder's "vision_features" without the finer levels, which take longer than the rest of the neck.
        neck = self.image_encoder.neck
        *_, stride_16, stride_32 = self.stages(images)
        return neck.convs[1](stride_16) + F.interpolate(neck.convs[0](stride_32), scale_factor=2.0, mode="nearest")

    def stages(self, images: Tensor) -> list[Tensor]:
        """The trunk's maps at strides 4, 8, 16 and 32."""
        return self.image_encoder.trunk(images)

    def published_state_dict(self) -> dict[str, Tensor]:
        """Weights under the names of a SAM 2 checkpoint, ``image_encoder.*``."""
        return dict(self.state_dict())


class HighResolution(nn.Module):
    """What SAM 2's mask decoder reads beside the embedding: a finer level, through the decoder's own 1 x 1 convolution.

    Args:
        encoder: The image encoder.
        level: 0 for stride 4, 1 for stride 8.
        project: The decoder's ``conv_s0`` or ``conv_s1``.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, encoder: MedSAM2, level: int, project: nn.Conv2d) -> None:
        super().__init__()
        self.encoder, self.level, self.project = encoder, level, project
        self.input_size, self.embed_dim = encoder.input_size, project.out_channels
        self.grid_size = encoder.input_size // (4, 8)[level]

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, C / 8, S / 4, S / 4) or (B, C / 4, S / 8, S / 8)
        lateral = self.encoder.image_encoder.neck.convs[3 - self.level]
        return self.project(lateral(self.encoder.stages(images)[self.level]))


def small_medsam2() -> MedSAM2:
    """The architecture of the shipped small teacher: features 256×16² from input 256²."""
    # At 256² the third and fourth stage are 16² and 8²: MedSAM2's windows of 14 and 7 would be mostly padding there.
    return MedSAM2(
        input_size=256, embed_dim=40, stages=(1, 1, 3, 1), global_att_blocks=(3, 4), window_spec=(8, 4, 8, 8)
    )


def load_medsam2(checkpoint: str | Path, encoder: MedSAM2 | None = None, sha256: str | None = None) -> Teacher:
    """Make the teacher from a SAM 2.1 checkpoint (a whole model, or its image encoder alone).

    Args:
        checkpoint: ``.pt`` or ``.safetensors`` file, a folder with ``MedSAM2_latest.pt``, or a hub id.
        encoder: The architecture in the file; MedSAM2's own by default.
        sha256: Expected checksum of the file.
    """
    path = find_checkpoint(checkpoint, FILES)
    encoder = encoder or MedSAM2()
    load_strict(encoder, read_state_dict(path, sha256), path, ignore_prefixes=OTHER_PARTS)
    return Teacher("medsam2", encoder, describe_weights(path))


def load_medsam2_levels(
    checkpoint: str | Path, encoder: MedSAM2 | None = None, sha256: str | None = None
) -> dict[str, Teacher]:
    """All that the teacher's own mask decoder reads, as three teachers of which one runs the trunk for the others.

    Arguments are those of :func:`load_medsam2`, of a *whole* checkpoint.

    Returns:
        ``medsam2``, the embedding; ``medsam2_s0`` and ``medsam2_s1``, what :class:`HighResolution` gives.
    """
    path = find_checkpoint(checkpoint, FILES)
    encoder = encoder or MedSAM2()
    teachers = {"medsam2": load_medsam2(path, encoder, sha256)}
    state = read_state_dict(path)
    for level, suffix in enumerate(HIGH_RES):
        project = nn.Conv2d(encoder.embed_dim, encoder.embed_dim // (8, 4)[level], kernel_size=1)
        part = f"sam_mask_decoder.conv{suffix}."
        found = {name.rpartition(part)[2]: value for name, value in state.items() if part in name}
        load_strict(project, found, path)
        name = f"medsam2{suffix}"
        teachers[name] = Teacher(name, HighResolution(encoder, level, project), describe_weights(path))
    encoder.stages = _remember_latest(encoder.stages)  # type: ignore[assignment, method-assign]
    return teachers


def _remember_latest(stages: Callable[[Tensor], list[Tensor]]) -> Callable[[Tensor], list[Tensor]]:
    """The same for a frozen trunk that is asked for the same images several times in a row."""
    latest: list[tuple[Tensor, list[Tensor]]] = []

    def wrapped(images: Tensor) -> list[Tensor]:
        if not (latest and latest[0][0].device == images.device and torch.equal(latest[0][0], images)):
            latest[:] = [(images, stages(images))]
        return latest[0][1]

    return wrapped


def _check_global_blocks(stages: tuple[int, ...], global_att_blocks: tuple[int, ...]) -> None:
    pooling = set(itertools.accumulate(stages[:-1]))
    possible = [block for block in range(sum(stages)) if block not in pooling]
    if not set(global_att_blocks) <= set(possible):
        raise ValueError(
            f"global_att_blocks must be among the blocks that do not pool, {possible}, got {global_att_blocks}"
        )
