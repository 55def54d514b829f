"""Recipe of the small MedSAM2: promptable segmentation with SAM 2's own prompt encoder and mask decoder.

A random structure that is visible in the frame is asked for by a jittered box, a point inside it, or both; the decoder
answers with its mask. Only the image encoder is kept. Losses follow SAM (arXiv 2304.02643, appendix A): focal + dice.
"""

import torch
import torch.nn.functional as F
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from bundle.laboratory.recipes.frames import FrameBatch, PhantomFrames, augment, images_for
from bundle.teachers.medsam2 import MedSAM2


class PromptableSegmentation(nn.Module):
    """An image encoder that learns to hold what a prompted mask decoder needs."""

    def __init__(self, encoder: MedSAM2, prompts_per_frame: int = 4) -> None:
        super().__init__()
        self.encoder, self.prompts_per_frame = encoder, prompts_per_frame
        grid, size, channels = encoder.grid_size, encoder.input_size, encoder.embed_dim
        self.prompt_encoder = PromptEncoder(channels, (grid, grid), (size, size), mask_in_chans=16)
        self.prompt_encoder.mask_downscaling.requires_grad_(False)  # no mask prompts here
        self.mask_decoder = MaskDecoder(
            transformer_dim=channels,
            transformer=TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=512, num_heads=8),
            use_high_res_features=True,
        )

    def loss(self, batch: FrameBatch, generator: torch.Generator) -> Tensor:
        image, label = augment(batch.image, batch.label, generator)
        frame, structure = _draw_visible(label, self.prompts_per_frame, generator)
        mask = label[frame, structure]  # (N, H, W)
        logits = self.predict(image, frame, *draw_prompts(mask, generator)).float()
        target = F.interpolate(mask[:, None], logits.shape[-2:], mode="area")
        focal = sigmoid_focal_loss(logits, target, alpha=-1, gamma=2.0, reduction="mean")
        return 20 * focal + _dice_loss(logits.sigmoid(), target)

    def after_step(self, progress: float) -> None:
        """Nothing here is learned otherwise than by gradient."""

    def predict(self, image: Tensor, frame: Tensor, box: Tensor, point: Tensor, point_label: Tensor) -> Tensor:
        """Mask logits ``(N, 1, H/4, W/4)``, one for each prompt.

        Args:
            image: Frames ``(B, 1, H, W)`` in [0, 1].
            frame: Index ``(N,)`` of the frame that each prompt belongs to.
            box: Corners ``(N, 2, 2)`` as column, row in pixels.
            point: ``(N, 1, 2)`` as column, row in pixels.
            point_label: ``(N, 3)``: SAM's labels of both corners (2, 3) and of the point (1), or -1 to ignore one.
        """
        pyramid = self.encoder.image_encoder(images_for(self.encoder, image))["backbone_fpn"]
        high_res = [self.mask_decoder.conv_s0(pyramid[0]), self.mask_decoder.conv_s1(pyramid[1])]
        coordinates = torch.cat([box, point], dim=1)  # SAM 2 gives boxes as two labeled points
        sparse, dense = self.prompt_encoder((coordinates, point_label), None, None)
        masks, *_ = self.mask_decoder(
            image_embeddings=pyramid[2][frame],
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=False,
            high_res_features=[features[frame] for features in high_res],
        )
        return masks

    @torch.no_grad()
    def evaluate(self, train: PhantomFrames, held_out: PhantomFrames) -> dict[str, float]:
        """Mean Dice over visible structures of held-out patients, prompted by their exact boxes."""
        del train
        self.eval()
        scores: list[list[float]] = [[] for _ in range(held_out.num_structures)]
        filled = []
        for batch in held_out.batches(16):
            frame, structure = torch.nonzero(_is_visible(batch.label), as_tuple=True)
            mask = batch.label[frame, structure]
            box, point, point_label = draw_prompts(mask, None)
            logits = self.predict(batch.image, frame, box, point, point_label)
            pred = F.interpolate(logits, mask.shape[-2:], mode="bilinear")[:, 0] > 0
            for which, value in zip(structure.tolist(), _dice(pred, mask).tolist(), strict=True):
                scores[which].append(value)
            filled += _dice(_fill(box, mask.shape[-1]), mask).tolist()
        per_structure = [sum(values) / len(values) for values in scores if values]
        return {
            "box_prompt_dice": sum(per_structure) / len(per_structure),
            "box_prompt_dice_worst_structure": min(per_structure),
            "filled_box_dice": sum(filled) / len(filled),
        }


def draw_prompts(mask: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, points and SAM's point labels for masks ``(N, H, W)``; without a generator the exact boxes only."""
    size, count = mask.shape[-1], len(mask)
    columns, rows = mask.amax(dim=1) > 0, mask.amax(dim=2) > 0  # (N, W), (N, H)
    first = torch.stack([_first(columns), _first(rows)], dim=1)
    last = size - 1 - torch.stack([_first(columns.flip(1)), _first(rows.flip(1))], dim=1)
    box = torch.stack([first, last], dim=1).float()  # (N, 2, 2)
    if generator is None:
        return box, torch.zeros(count, 1, 2), torch.tensor([[2, 3, -1]]).expand(count, -1)
    jitter = (torch.rand(count, 2, 2, generator=generator) - 0.5) * 0.2 * (box[:, 1:] - box[:, :1] + 8)
    flat = torch.multinomial(mask.flatten(1), 1, generator=generator)  # a pixel inside the mask
    point = torch.stack([flat % size, flat // size], dim=-1).float()
    kind = torch.randint(3, (count,), generator=generator)  # box, point, both
    labels = torch.tensor([[2, 3, -1], [-1, -1, 1], [2, 3, 1]])[kind]
    return (box + jitter).clamp(0, size - 1), point, labels


def _first(flags: Tensor) -> Tensor:
    return flags.float().argmax(dim=1)


def _is_visible(label: Tensor, least_pixels: int = 12) -> Tensor:
    return label.sum(dim=(2, 3)) >= least_pixels


def _draw_visible(label: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frame and structure indices: up to ``count`` visible structures of each frame, without repetition."""
    order = torch.rand(label.shape[:2], generator=generator).masked_fill(~_is_visible(label), 2.0)
    value, structure = order.topk(count, dim=1, largest=False)
    frame = torch.arange(len(label))[:, None].expand_as(structure)
    return frame[value < 2.0], structure[value < 2.0]


def _dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    overlap = 2 * (probability * target).sum(dim=(1, 2, 3)) + 1
    return (1 - overlap / ((probability + target).sum(dim=(1, 2, 3)) + 1)).mean()


def _dice(pred: Tensor, label: Tensor) -> Tensor:  # (N, H, W) -> (N,)
    return 2 * (pred * label).sum(dim=(1, 2)) / (pred.sum(dim=(1, 2)) + label.sum(dim=(1, 2)))


def _fill(box: Tensor, size: int) -> Tensor:
    """Masks ``(N, H, W)`` of everything inside the boxes: what a prompt alone would give."""
    at = torch.arange(size)
    inside = (at >= box[:, 0, :, None]) & (at <= box[:, 1, :, None])  # (N, 2, size): columns, rows
    return (inside[:, 1, :, None] & inside[:, 0, None, :]).float()
