"""A clip through a segmenter: letterboxed in mini-batches, masks at the clip's own resolution."""

import math
from collections.abc import Callable
from typing import Any

import psutil
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn
from tqdm import tqdm

from bundle.keys import PIXEL_ASPECT
from bundle.transforms.letterbox import LetterboxGeometry, letterbox, unletterbox


class ClipInferer(Inferer):
    """Segment every frame of a clip.

    Frames are letterboxed, segmented ``batch_size`` at a time and thresholded one by one at their own resolution, so
    that no more than a mini-batch exists as logits; only the masks (one byte per pixel and structure) are kept.

    Args:
        image_size: Side of the network's square input.
        batch_size: Frames per forward pass.
        threshold: Probability above which a pixel belongs to a structure, between 0 and 1.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If a size is not positive or the threshold not between 0 and 1.
    """

    def __init__(self, image_size: int, batch_size: int = 8, threshold: float = 0.5, progress: bool = True) -> None:
        if image_size < 1 or batch_size < 1:
            raise ValueError(f"image_size and batch_size must be positive, got {image_size} and {batch_size}")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be a probability between 0 and 1, got {threshold}")
        self.image_size = image_size
        self.batch_size = batch_size
        self.threshold = threshold
        self.progress = progress

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        *args: Any,
        pixel_aspect: float | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Masks of a clip.

        Args:
            inputs: Clip ``(T, 1, H, W)`` or ``(1, T, 1, H, W)``, in [0, 1]; may stay on the CPU.
            network: Maps frames ``(B, 1, image_size, image_size)`` to logits ``(B, S, image_size, image_size)``.
            args: Passed to the network.
            pixel_aspect: Height of the clip's pixels divided by their width; the network sees square ones. None: what
                ``ClipReader`` has noted in the meta data of ``inputs``; square without such a note.
            kwargs: Passed to the network.

        Returns:
            ``bool`` masks ``(T, S, H, W)`` on the CPU, with a leading 1 if the input had one.

        Raises:
            ValueError: If the clip or the network's output has another shape, or a logit is NaN.
            MemoryError: If the masks would not fit into the free memory.
        """
        clip = _check_clip(inputs)
        aspect = _noted_aspect(inputs) if pixel_aspect is None else pixel_aspect
        device = _device_of(network, clip.device)
        masks: Tensor | None = None
        with (
            torch.inference_mode(),
            tqdm(total=len(clip), desc="segment", unit="frame", disable=not self.progress, leave=False) as bar,
        ):
            for start in range(0, len(clip), self.batch_size):
                batch = clip[start : start + self.batch_size].to(device)
                frames, geometry = letterbox(batch, self.image_size, aspect)
                logits = self._check_logits(network(frames, *args, **kwargs), frames, start)
                if masks is None:
                    masks = _empty_masks(len(clip), logits.shape[1], geometry)
                self._threshold(logits, geometry, masks[start : start + len(frames)])
                bar.update(len(frames))
        if masks is None:
            raise ValueError("clip must have at least one frame, got none")
        return masks[None] if inputs.ndim == 5 else masks

    def _threshold(self, logits: Tensor, geometry: LetterboxGeometry, masks: Tensor) -> None:
        """Write into ``masks`` frame by frame: full-size logits of a mini-batch can be gigabytes."""
        limit = math.log(self.threshold / (1 - self.threshold))
        for frame_logits, frame_masks in zip(logits, masks, strict=True):
            frame_masks.copy_(unletterbox(frame_logits[None], geometry)[0] > limit)

    def _check_logits(self, logits: Tensor, frames: Tensor, start: int) -> Tensor:
        size = self.image_size
        if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[::2] != (len(frames), size):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the network must return logits ({len(frames)}, S, {size}, {size}), got {got}")
        if not bool(logits.isfinite().all()):
            last = start + len(frames) - 1
            raise ValueError(f"the network returned NaN or infinity for frames {start} to {last}: check its weights")
        return logits.float()


def _check_clip(inputs: Tensor) -> Tensor:
    clip = inputs[0] if inputs.ndim == 5 and len(inputs) == 1 else inputs
    if clip.ndim != 4 or clip.shape[1] != 1:
        raise ValueError(f"clip must be (T, 1, H, W) or (1, T, 1, H, W), grayscale, got {tuple(inputs.shape)}")
    return clip.as_subclass(Tensor)


def _noted_aspect(inputs: Tensor) -> float:
    """From the meta data of one clip, which a data loader turns into a tensor of one number."""
    return float(inputs.meta.get(PIXEL_ASPECT, 1.0)) if isinstance(inputs, MetaTensor) else 1.0


def _device_of(network: Callable[..., Tensor], default: torch.device) -> torch.device:
    parameters = network.parameters() if isinstance(network, nn.Module) else iter(())
    first = next(parameters, None)
    return default if first is None else first.device


def _empty_masks(num_frames: int, num_structures: int, geometry: LetterboxGeometry) -> Tensor:
    shape = (num_frames, num_structures, geometry.rows, geometry.columns)
    needed, free = math.prod(shape), psutil.virtual_memory().available
    if needed > free:
        raise MemoryError(
            f"masks {shape} need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free: cut the clip into parts"
        )
    return torch.zeros(shape, dtype=torch.bool)
