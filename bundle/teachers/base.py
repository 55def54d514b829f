"""A teacher: one frozen encoder together with the input size and normalization that it was trained with."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageInput(NamedTuple):
    """The images that an encoder was trained on, as its ``preprocessor_config.json`` says."""

    size: int
    """Side of the square in pixels."""
    mean: tuple[float, float, float]
    """Mean of each channel."""
    std: tuple[float, float, float]
    """Standard deviation of each channel."""


class Encoder(Protocol):
    """What a module must have to become a teacher; it takes normalized images and knows nothing of freezing."""

    input_size: int
    grid_size: int
    embed_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, embed_dim, grid_size, grid_size)`` of normalized images ``(B, 3, input_size, input_size)``."""


class Teacher(nn.Module):
    """Freeze an encoder and give it frames instead of normalized images.

    Frozen means: always in evaluation mode, no parameter asks for a gradient, and no gradient is recorded. Keep it out
    of the trained network, so that it is in no optimizer and no checkpoint.

    Args:
        name: What the teacher is called in batches, losses and logs.
        encoder: The module to freeze, weights already in it; it is changed in place.
        weights: Where the weights come from, in words. There is no default: an encoder nobody has loaded is random,
            and then this has to say so.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, encoder: nn.Module, weights: str) -> None:
        super().__init__()
        _check_encoder(name, encoder)
        self.name = name
        self.weights = weights
        self.encoder = encoder
        self.input_size: int = encoder.input_size  # type: ignore[assignment]
        self.grid_size: int = encoder.grid_size  # type: ignore[assignment]
        self.embed_dim: int = encoder.embed_dim  # type: ignore[assignment]
        self.register_buffer("mean", _per_channel(encoder.mean), persistent=False)  # type: ignore[arg-type]
        self.register_buffer("std", _per_channel(encoder.std), persistent=False)  # type: ignore[arg-type]
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, H, W) in [0, 1] -> (B, C, h, w)
        return self.encoder(prepare_images(frames, self.input_size, self.mean, self.std))

    def valid_grid(self, valid: Tensor) -> Tensor:
        """Share ``(B, 1, h, w)`` of each feature position that lies on image content, by ``valid`` ``(B, 1, H, W)``."""
        return F.adaptive_avg_pool2d(valid.float(), self.grid_size)

    def train(self, mode: bool = True) -> "Teacher":  # noqa: ARG002 - a frozen module has one mode only
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> "Teacher":
        """Refuse to thaw: train the encoder before it becomes a teacher."""
        if requires_grad:
            raise ValueError(f"teacher {self.name!r} is frozen; train its encoder on its own, before making a Teacher")
        return super().requires_grad_(False)

    @property
    def is_frozen(self) -> bool:
        """Whether nothing inside trains or asks for a gradient."""
        return not any(m.training for m in self.modules()) and not any(p.requires_grad for p in self.parameters())

    def extra_repr(self) -> str:
        return (
            f"{self.name!r}, input {self.input_size}², features {self.embed_dim}×{self.grid_size}², "
            f"weights from {self.weights}"
        )


def prepare_images(frames: Tensor, input_size: int, mean: Tensor, std: Tensor) -> Tensor:
    """Normalized images ``(B, 3, input_size, input_size)`` of square grayscale frames ``(B, 1, H, H)`` in [0, 1].

    Raises:
        ValueError: If the frames are not grayscale or not square.
    """
    if frames.ndim != 4 or frames.shape[1] != 1 or frames.shape[2] != frames.shape[3]:
        raise ValueError(
            f"teachers take square grayscale frames (B, 1, H, H), got {tuple(frames.shape)}; letterbox the frames first"
        )
    size = (input_size, input_size)
    if frames.shape[2:] != size:
        frames = F.interpolate(frames, size=size, mode="bilinear", antialias=True)
    return (frames.expand(-1, 3, -1, -1) - mean) / std


def tokens_to_grid(tokens: Tensor, grid_size: int) -> Tensor:  # (B, h * w, C) -> (B, C, h, w)
    """Lay a transformer's patch tokens, row by row, on their grid."""
    return tokens.transpose(1, 2).unflatten(2, (grid_size, grid_size))


def _check_encoder(name: str, encoder: nn.Module) -> None:
    expected = ("input_size", "grid_size", "embed_dim", "mean", "std")
    missing = [attribute for attribute in expected if not hasattr(encoder, attribute)]
    if missing:
        raise TypeError(
            f"encoder of teacher {name!r} must have {', '.join(expected)}; {type(encoder).__name__} lacks "
            f"{', '.join(missing)}"
        )
    for attribute in ("mean", "std"):
        values = getattr(encoder, attribute)
        if len(values) != 3:
            raise ValueError(f"{attribute} of teacher {name!r} needs three numbers, one per channel, got {values}")


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
