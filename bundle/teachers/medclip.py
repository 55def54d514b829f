"""MedCLIP's vision towers: Swin-T or ResNet-50, trained with report sentences (Wang et al. 2022, arXiv 2210.10163)."""

from pathlib import Path

from torch import Tensor, nn
from torchvision.models import resnet50

from bundle.extras import needs_extra
from bundle.teachers.base import Teacher, tokens_to_grid
from bundle.teachers.find import find_checkpoint
from bundle.weights import describe_weights, load_strict, read_state_dict

with needs_extra("train", "this teacher"):
    from transformers import SwinConfig, SwinModel

STRIDE = 32  # of both towers' last stage
PROJECTION_DIM = 512  # of the space that images and sentences share
OTHER_PARTS = ("text_model.", "logit_scale")
_MEAN = (0.5862785803043838,) * 3  # of MedCLIP's image processor
_STD = (0.27950088968644304,) * 3

_PUBLISHED_NAMES = (  # transformers 5 calls these otherwise than the published file does
    ("attention.q_proj", "attention.self.query"),
    ("attention.k_proj", "attention.self.key"),
    ("attention.v_proj", "attention.self.value"),
    ("attention.relative_position_bias.relative_position_bias_table", "attention.self.relative_position_bias_table"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
)


class MedClipSwin(nn.Module):
    """Swin transformer with MedCLIP's projection; the defaults are MedCLIP-ViT's.

    The features are the last stage's patch tokens, before pooling and projection.

    Args:
        input_size: Side of the square input, a multiple of 32 and 224 at least.
        embed_dim: Channels of the first stage; each of the four stages has twice as many as the one before.
        depths: Blocks in each stage.
        num_heads: Attention heads in each stage.
    """

    mean, std = _MEAN, _STD

    def __init__(
        self,
        input_size: int = 224,
        embed_dim: int = 96,
        depths: tuple[int, int, int, int] = (2, 2, 6, 2),
        num_heads: tuple[int, int, int, int] = (3, 6, 12, 24),
    ) -> None:
        super().__init__()
        if input_size % STRIDE or input_size < 224:
            raise ValueError(
                f"input_size must be a multiple of {STRIDE}, 224 at least since the last stage's windows are 7 wide, "
                f"got {input_size}"
            )
        self.input_size, self.grid_size, self.embed_dim = input_size, input_size // STRIDE, embed_dim * 8
        config = SwinConfig(image_size=input_size, embed_dim=embed_dim, depths=list(depths), num_heads=list(num_heads))
        self.model = SwinModel(config)
        self.projection_head = nn.Linear(self.embed_dim, PROJECTION_DIM, bias=False)

    def summary(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, 512)
        """Projected vector of each image, which training matches with its sentences' vectors."""
        return self.projection_head(self.forward(images).mean(dim=(2, 3)))

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, C, S / 32, S / 32)
        return tokens_to_grid(self.model(pixel_values=images).last_hidden_state, self.grid_size)

    def published_state_dict(self) -> dict[str, Tensor]:
        """Weights under the names of MedCLIP's published file, ``vision_model.*``."""
        return {_published_name(key): value for key, value in self.state_dict().items()}


class MedClipResNet(nn.Module):
    """ResNet-50 whose last layer is MedCLIP's projection. The features are the last stage's, before pooling.

    Args:
        input_size: Side of the square input, a multiple of 32.
    """

    mean, std = _MEAN, _STD
    embed_dim = 2048

    def __init__(self, input_size: int = 224) -> None:
        super().__init__()
        if input_size % STRIDE:
            raise ValueError(f"input_size must be a multiple of {STRIDE}, got {input_size}")
        self.input_size, self.grid_size = input_size, input_size // STRIDE
        self.model = resnet50(weights=None)
        self.model.fc = nn.Linear(self.embed_dim, PROJECTION_DIM, bias=False)

    def summary(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, 512)
        """Projected vector of each image, which training matches with its sentences' vectors."""
        return self.model(images)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, 2048, S / 32, S / 32)
        resnet = self.model
        features = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))
        return resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(features))))


def small_medclip() -> MedClipSwin:
    """The architecture of the shipped small teacher: features 384×7² from input 224²."""
    return MedClipSwin(input_size=224, embed_dim=48, depths=(2, 2, 2, 2), num_heads=(2, 4, 8, 16))


def load_medclip(
    checkpoint: str | Path, encoder: MedClipSwin | MedClipResNet | None = None, sha256: str | None = None
) -> Teacher:
    """Make the teacher from MedCLIP's published weights (the whole model, or its vision tower alone).

    Args:
        checkpoint: ``.bin`` or ``.safetensors`` file, or a folder with ``pytorch_model.bin``.
        encoder: The architecture in the file; MedCLIP's Swin-T by default.
        sha256: Expected checksum of the file.
    """
    path = find_checkpoint(checkpoint, ("pytorch_model.bin", "model.safetensors"))
    encoder = encoder or MedClipSwin()
    # Swin's table of window offsets follows from the window size; older transformers saved it, newer ones do not.
    state = read_state_dict(path, sha256)
    state = {key: value for key, value in state.items() if not key.endswith("relative_position_index")}
    load_strict(encoder, state, path, ignore_prefixes=OTHER_PARTS, published_name=_published_name)
    return Teacher("medclip", encoder, describe_weights(path))


def _published_name(key: str) -> str:
    for ours, published in _PUBLISHED_NAMES:
        key = key.replace(ours, published)
    return key if key.startswith(("vision_model.", *OTHER_PARTS)) else f"vision_model.{key}"
