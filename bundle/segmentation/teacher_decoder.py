"""A SAM-family teacher's own prompt encoder and mask decoder, frozen: prompts on its features, or a student's of them.

SAM (arXiv 2304.02643) and SAM 2 (arXiv 2408.00714) have the same two modules; SAM 2 adds the high-resolution features,
the object score and a "no memory" embedding, and calls the layers of the transformer's perceptron otherwise.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from torch import Tensor, nn
from tqdm import tqdm

from bundle.segmentation.segmenter import ImageFeatures, PromptedMasks, Segmenter, make_decoder
from bundle.teachers.find import find_checkpoint
from bundle.teachers.lite_medsam import SHA256 as LITE_MEDSAM
from bundle.teachers.medsam2 import DECODER_PARTS, FILES, HIGH_RES, OTHER_PARTS
from bundle.weights import WeightsError, load_strict, read_state_dict

SIDES = (0.16, 0.25, 0.4, 0.63)
"""Shares of the image: sides of the boxes that are tried around a click where a decoder knows boxes alone."""


class TeacherDecoder(nn.Module):
    """Prompts and image features to masks, as the teacher answers them; nothing in it trains, gradients pass through.

    Args:
        prompt_encoder: SAM's, for the teacher's input size and grid.
        mask_decoder: SAM's or SAM 2's.
        is_box_only: Whether the teacher was never trained with clicks, as MedSAM and LiteMedSAM were not; then a click
            is answered by that box around it, of all shapes by :data:`SIDES`, of whose mask the decoder expects most.
    """

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder, is_box_only: bool = False) -> None:
        super().__init__()
        self.is_box_only = is_box_only
        self.prompt_encoder, self.mask_decoder = prompt_encoder, mask_decoder
        self.is_sam2: bool = mask_decoder.use_high_res_features
        if self.is_sam2:
            self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, prompt_encoder.embed_dim))
        self.input_size: int = prompt_encoder.input_image_size[0]
        self.grid_size: int = prompt_encoder.image_embedding_size[0]
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "TeacherDecoder":  # noqa: ARG002 - a frozen module has one mode only
        return super().train(False)

    def names(self, teacher: str) -> list[str]:
        """What the decoder reads, by the names of phase 1's teachers: ``teacher``, and for SAM 2 two finer maps."""
        return [teacher, *(f"{teacher}{suffix}" for suffix in (HIGH_RES if self.is_sam2 else ()))]

    def take(self, features: Mapping[str, Tensor], teacher: str) -> ImageFeatures:
        """Pick what the decoder reads, in the teacher's own units and by :meth:`names`, on the decoder's grid."""
        names = self.names(teacher)
        if not set(names) <= set(features):
            raise ValueError(f"the decoder of {teacher!r} reads the features {names}, got {list(features)}")
        sides = [self.grid_size, 4 * self.grid_size, 2 * self.grid_size]
        embedding, *high_res = [
            F.interpolate(features[name], (side, side), mode="bilinear", align_corners=False)
            for name, side in zip(names, sides, strict=False)
        ]
        return ImageFeatures(embedding, tuple(high_res))  # type: ignore[arg-type]

    def forward(
        self,
        features: ImageFeatures,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Tensor:
        """The mask of each prompt: of three candidates for a single point the one with the highest expected IoU.

        Args:
            features: From :meth:`take`; one image, or one per prompt.
            points: ``(N, P, 2)``, x and y in pixels of the teacher's input.
            point_labels: ``(N, P)``: 1 inside, 0 outside.
            boxes: ``(N, 4)``: left, top, right, bottom. Boxes or points, not both.

        Returns:
            Mask logits ``(N, 1, 4h, 4w)``.
        """
        if (points is None) == (boxes is None):
            raise ValueError("a prompt is points or a box: give one of the two")
        if points is not None and self.is_box_only:
            if points.shape[1] != 1 or point_labels is None or not bool((point_labels == 1).all()):
                raise ValueError("this decoder knows boxes alone: give a box, or a single click inside")
            return torch.cat([self._around(features, point) for point in points[:, 0]])
        masks, iou = self._candidates(features, points, point_labels, boxes)
        return masks.gather(1, iou.argmax(dim=1)[:, None, None, None].expand(-1, 1, *masks.shape[-2:]))

    def _around(self, features: ImageFeatures, point: Tensor) -> Tensor:  # (2,) -> (1, 1, 4h, 4w)
        half = torch.cartesian_prod(*[torch.tensor(SIDES, device=point.device)] * 2) * self.input_size / 2
        boxes = torch.cat([point - half, point + half], dim=1).clamp(0, self.input_size - 1)
        masks, iou = self._candidates(features, None, None, boxes)
        return masks[iou[:, 0].argmax()][None]

    def _candidates(
        self, features: ImageFeatures, points: Tensor | None, point_labels: Tensor | None, boxes: Tensor | None
    ) -> PromptedMasks:
        is_single_point = points is not None and points.shape[1] == 1
        if boxes is not None and self.is_sam2:  # SAM 2's predictors give a box as two points, and so does its training
            points, boxes = boxes.reshape(-1, 2, 2), None
            point_labels = torch.tensor([[2, 3]], device=points.device).expand(len(points), -1)
        embedding = features.embedding
        if self.is_sam2:
            embedding = embedding + self.no_mem_embed.view(1, -1, 1, 1)
        sparse, dense = self.prompt_encoder(
            points=None if points is None else (points, point_labels), boxes=boxes, masks=None
        )
        masks, iou, _, _ = self.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=is_single_point,
            repeat_image=len(embedding) != len(sparse),
            high_res_features=list(features.high_res_features) or None,
        )
        return PromptedMasks(masks, iou)


class TeacherSegmenter(nn.Module):
    """A teacher's decoder behind an encoder, the teacher's own or a student that stands in for it: no label is needed.

    Args:
        encode: Frames to features in the teacher's own units, by name, as :meth:`TeacherDecoder.take` reads them.
        decoder: Of the teacher.
        teacher: Its name.
    """

    def __init__(self, encode: Callable[[Tensor], Mapping[str, Tensor]], decoder: TeacherDecoder, teacher: str) -> None:
        super().__init__()
        self.encode, self.decoder, self.teacher = encode, decoder, teacher

    def masks(self, frame: Tensor, points: Tensor | None = None, boxes: Tensor | None = None) -> Tensor:
        """Logits ``(N, 1, H, H)`` of the objects that are prompted in one frame.

        Args:
            frame: ``(1, 1, H, H)`` in [0, 1].
            points: ``(N, 2)``, one click inside each object: x and y in pixels of the frame.
            boxes: ``(N, 4)``, or a box around each: left, top, right, bottom.
        """
        return self.answer(self.encode(frame), frame.shape[-1], points, boxes)

    def answer(
        self, features: Mapping[str, Tensor], size: int, points: Tensor | None = None, boxes: Tensor | None = None
    ) -> Tensor:
        """:meth:`masks` of an encoded frame of ``size`` pixels a side."""
        scale = self.decoder.input_size / size
        if points is not None:
            points = ((points + 0.5) * scale - 0.5)[:, None]
        labels = None if points is None else torch.ones(points.shape[:2], dtype=torch.int32, device=points.device)
        boxes = None if boxes is None else (boxes + 0.5) * scale - 0.5
        logits = self.decoder(self.decoder.take(features, self.teacher), points, labels, boxes)
        return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)


def load_lite_medsam_decoder(checkpoint: str | Path, sha256: str | None = LITE_MEDSAM) -> TeacherDecoder:
    """LiteMedSAM's decoder, which is SAM's; arguments as of :func:`bundle.teachers.lite_medsam.load_lite_medsam`."""
    path = find_checkpoint(checkpoint, ("lite_medsam.pth",))
    decoder = TeacherDecoder(*make_decoder(256, grid_size=64, image_size=256, is_sam2=False), is_box_only=True)
    load_strict(decoder, read_state_dict(path, sha256), path, ("image_encoder.",), published_name=_name_in_sam)
    return decoder


def load_sam2_decoder(
    checkpoint: str | Path, input_size: int = 512, embed_dim: int = 256, sha256: str | None = None
) -> TeacherDecoder:
    """The decoder of MedSAM2, or of any SAM 2.1, from a whole checkpoint.

    Args:
        checkpoint: ``.pt`` or ``.safetensors`` file, a folder with ``MedSAM2_latest.pt``, or a hub id.
        input_size: Side of the square input that the model was trained with: MedSAM2's 512, SAM 2.1's 1024.
        embed_dim: Width of the decoder.
        sha256: Expected checksum of the file.
    """
    path = find_checkpoint(checkpoint, FILES)
    decoder = TeacherDecoder(*make_decoder(embed_dim, grid_size=input_size // 16, image_size=input_size))
    # As SAM 2 builds its predictors: where a single mask is unstable, the best of the three candidates is taken.
    decoder.mask_decoder.dynamic_multimask_via_stability = True
    ignored = ("image_encoder.", *(part for part in OTHER_PARTS if part not in DECODER_PARTS))
    load_strict(decoder, read_state_dict(path, sha256), path, ignored, published_name=_name_in_sam2)
    return decoder


def start_decoder(segmenter: Segmenter, checkpoint: str | Path | None) -> Segmenter:
    """Begin phase 2 with a teacher's prompt encoder and mask decoder instead of random ones; queries stay new.

    All of a SAM 2.1's decoder fits. A SAM's, such as LiteMedSAM's, lacks high-resolution features and object scores:
    these tensors stay new, and a note says which. What the decoder reads is still the student's own embedding, from
    which phase 1's heads, not its neck, predict the teacher's: phase 2 brings the two together.

    Args:
        segmenter: Of the teacher's width, 256; changed in place.
        checkpoint: ``lite_medsam.pth`` or a whole SAM 2.1 checkpoint; None changes nothing.

    Raises:
        WeightsError: If the file has no decoder, or a tensor of another shape.
    """
    if checkpoint is None:
        return segmenter
    path = find_checkpoint(checkpoint, ("MedSAM2_latest.pt", "lite_medsam.pth"))
    state = read_state_dict(path)
    published_name = _name_in_sam2 if any(name.startswith(DECODER_PARTS) for name in state) else _name_in_sam
    parts = {"prompt_encoder": segmenter.prompt_encoder, "mask_decoder": segmenter.mask_decoder}
    module = nn.ModuleDict(parts)
    own = module.state_dict()
    new = [name for name in own if published_name(name) not in state]
    if len(new) > len(own) / 2:
        raise WeightsError(f"{path} has no decoder of SAM or SAM 2.1: give the whole model's checkpoint")
    kept = {published_name(name): own[name] for name in new}
    given = {name: value for name, value in state.items() if name.startswith((*parts, *DECODER_PARTS[:2]))}
    load_strict(module, {**given, **kept}, path, published_name=published_name)
    if new:
        tqdm.write(f"note: {path.name} has no {', '.join(sorted({'.'.join(name.split('.')[:2]) for name in new}))}")
    return segmenter


def _name_in_sam(key: str) -> str:
    return re.sub(r"\.mlp\.layers\.([01])\.", lambda match: f".mlp.lin{int(match[1]) + 1}.", key)


def _name_in_sam2(key: str) -> str:
    return re.sub(r"^(prompt_encoder|mask_decoder)\.", r"sam_\1.", key)
