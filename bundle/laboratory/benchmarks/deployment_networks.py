"""What the deployed students are compared with: MONAI's U-Nets, and SAM 2.1 Hiera-T as its users run it."""

import torch
from monai.networks.nets import BasicUNet, UNet
from sam2.build_sam import build_sam2
from torch import Tensor, nn

STRIDE = 16  # of SAM 2's image embedding


class PromptedSam2(nn.Module):
    """SAM 2.1 Hiera-T with random weights: one encoder pass, then a mask per structure from a point each.

    All prompts of a frame go through the mask decoder as one batch, which is the fastest way it offers.

    Args:
        image_size: Side of the frames.
        num_structures: Prompts, and so masks, per frame.
    """

    points: Tensor

    def __init__(self, image_size: int, num_structures: int) -> None:
        super().__init__()
        grid = image_size // STRIDE
        attention = "++model.memory_attention.layer"
        overrides = [
            f"++model.image_size={image_size}",
            f"{attention}.self_attention.feat_sizes=[{grid},{grid}]",
            f"{attention}.cross_attention.feat_sizes=[{grid},{grid}]",
        ]
        config = "configs/sam2.1/sam2.1_hiera_t.yaml"
        self.model = build_sam2(config, device="cpu", hydra_overrides_extra=overrides, apply_postprocessing=False)
        self.register_buffer("points", torch.linspace(0, image_size, num_structures)[:, None, None].repeat(1, 1, 2))

    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, S, S) -> (B, N, S/4, S/4)
        return torch.cat([self._segment(frame[None]) for frame in frames])

    def _segment(self, frame: Tensor) -> Tensor:
        stride_4, stride_8, embedding = self.model.forward_image(frame.expand(-1, 3, -1, -1))["backbone_fpn"]
        labels = torch.ones(self.points.shape[:2], dtype=torch.int32)
        sparse, dense = self.model.sam_prompt_encoder(points=(self.points, labels), boxes=None, masks=None)
        masks, *_ = self.model.sam_mask_decoder(
            image_embeddings=embedding,
            image_pe=self.model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=True,
            high_res_features=[stride_4, stride_8],
        )
        return masks.transpose(0, 1)


def other_networks(image_size: int, num_structures: int) -> dict[str, nn.Module]:
    """Networks of other projects, with random weights, from frames ``(B, 1, S, S)`` to logits."""
    unet = UNet(2, 1, num_structures, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    networks = {
        "SAM 2.1 Hiera-T, 12 points": PromptedSam2(image_size, num_structures),
        "MONAI UNet": unet,
        "MONAI BasicUNet": BasicUNet(2, 1, num_structures),
    }
    return {name: network.eval() for name, network in networks.items()}
