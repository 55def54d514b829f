"""RAD-DINO: DINOv2 ViT-B/14 trained on chest X-rays without labels (Pérez-García et al. 2025, arXiv 2401.10815)."""

from pathlib import Path

from torch import Tensor, nn

from bundle.extras import needs_extra
from bundle.teachers.base import Teacher, tokens_to_grid
from bundle.teachers.find import find_checkpoint
from bundle.weights import describe_weights, load_strict, read_state_dict

with needs_extra("train", "this teacher"):
    from transformers import Dinov2Config, Dinov2Model

_PUBLISHED_NAMES = (  # transformers 5 calls these otherwise than the published files do
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
)


class RadDino(nn.Module):
    """DINOv2 vision transformer; the defaults are RAD-DINO's. The features are its patch tokens, never the CLS token.

    Args:
        input_size: Side of the square input, a multiple of the patch size.
        hidden_size: Channels of the tokens, and so of the features.
        num_layers: Transformer blocks.
        num_heads: Attention heads of each block.
        patch_size: Side of a patch in pixels.
    """

    mean = (0.5307, 0.5307, 0.5307)  # of RAD-DINO's image processor
    std = (0.2583, 0.2583, 0.2583)

    def __init__(
        self,
        input_size: int = 518,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        patch_size: int = 14,
    ) -> None:
        super().__init__()
        if input_size % patch_size:
            raise ValueError(f"input_size must be a multiple of patch_size {patch_size}, got {input_size}")
        self.input_size, self.grid_size, self.embed_dim = input_size, input_size // patch_size, hidden_size
        config = Dinov2Config(
            image_size=input_size,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
        )
        self.model = Dinov2Model(config)

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The CLS token ``(B, C)`` and the patch tokens ``(B, h * w, C)`` after the final layer norm."""
        tokens = self.model(pixel_values=images).last_hidden_state
        return tokens[:, 0], tokens[:, 1:]

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, C, S / 14, S / 14)
        return tokens_to_grid(self.tokens(images)[1], self.grid_size)

    def published_state_dict(self) -> dict[str, Tensor]:
        """Weights under the names of RAD-DINO's published file."""
        return {_published_name(key): value for key, value in self.state_dict().items()}


def small_rad_dino() -> RadDino:
    """The architecture of the shipped small teacher: features 192×16² from input 224²."""
    return RadDino(input_size=224, hidden_size=192, num_layers=6, num_heads=3)


def load_rad_dino(checkpoint: str | Path, encoder: RadDino | None = None, sha256: str | None = None) -> Teacher:
    """Make the teacher from RAD-DINO's published weights.

    Args:
        checkpoint: ``.safetensors`` or ``.bin`` file, a folder with ``model.safetensors`` or ``pytorch_model.bin``, or
            a hub id (``microsoft/rad-dino``).
        encoder: The architecture in the file; RAD-DINO's own by default.
        sha256: Expected checksum of the file.
    """
    path = find_checkpoint(checkpoint, ("model.safetensors", "pytorch_model.bin"))
    encoder = encoder or RadDino()
    load_strict(encoder, read_state_dict(path, sha256), path, published_name=_published_name)
    return Teacher("rad_dino", encoder, describe_weights(path))


def _published_name(key: str) -> str:
    key = key.removeprefix("model.")
    for ours, published in _PUBLISHED_NAMES:
        key = key.replace(ours, published)
    return key
