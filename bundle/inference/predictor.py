"""A clip, or a chunk of one, through a segmenter: letterboxed in mini-batches, masks at the clip's own resolution."""

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import psutil
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn
from tqdm import tqdm

from bundle.export.formats import logit_of
from bundle.inference.runtimes.enlarge import MaskEnlarger
from bundle.keys import FIELD_OF_VIEW, FRAME, PIXEL_ASPECT
from bundle.transforms.field_of_view import Window
from bundle.transforms.letterbox import LetterboxGeometry, letterbox, unletterbox


@runtime_checkable
class HasCoarseLogits(Protocol):
    """A network that gives logits before it enlarges them, such as ``bundle.inference.runtimes.Runtime``."""

    def coarse(self, frames: Tensor) -> Tensor:
        """Frames ``(B, 1, size, size)`` to logits ``(B, S, grid, grid)`` on the CPU."""


class ClipInferer(Inferer):
    """Segment every frame of a clip.

    Frames are letterboxed, segmented ``batch_size`` at a time and thresholded one by one at their own resolution, so
    that no more than a mini-batch exists as logits; only the masks (one byte per pixel and structure) are kept. A
    network with coarse logits is asked for these, and they are enlarged to the clip's resolution at once.

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
        self.limit = logit_of(threshold)
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
        """Masks of a clip, bool ``(T, S, H, W)`` on the CPU, with a leading 1 if the input had one.

        Args:
            inputs: Clip ``(T, 1, H, W)`` or ``(1, T, 1, H, W)``, in [0, 1]; may stay on the CPU. If its meta data note
                a field of view, the network sees that part alone, and there is no mask outside it.
            network: Maps frames ``(B, 1, image_size, image_size)`` to logits ``(B, S, image_size, image_size)``.
            args: Passed to the network.
            pixel_aspect: Height of the clip's pixels divided by their width; the network sees square ones. None: what
                the meta data of ``inputs`` note; square without such a note.
            kwargs: Passed to the network.

        Raises:
            ValueError: If the clip or the network's output has another shape, or a logit is NaN.
            MemoryError: If the masks would not fit into the free memory.
        """
        clip = _check_clip(inputs)
        aspect = float(_noted(inputs, PIXEL_ASPECT, 1.0)) if pixel_aspect is None else pixel_aspect
        first = int(_noted(inputs, FRAME, 0))  # of a chunk, for errors
        noted = _noted(inputs, FIELD_OF_VIEW, None)
        view = Window.whole(*clip.shape[-2:]) if noted is None else Window(*map(int, noted))
        geometry = LetterboxGeometry(view.bottom - view.top, view.right - view.left, self.image_size, aspect)
        window = (..., *view.slices())
        device = _device_of(network, clip.device)
        masks: Tensor | None = None
        shows = self.progress and len(clip) > self.batch_size
        with (
            torch.inference_mode(),
            tqdm(total=len(clip), desc="segment", unit="frame", disable=not shows, leave=False) as bar,
        ):
            for start in range(0, len(clip), self.batch_size):
                batch = clip[start : start + self.batch_size][window].to(device)
                frames, _ = letterbox(batch, self.image_size, aspect)
                logits = self._logits(network, frames, first + start, args, kwargs)
                if masks is None:
                    masks = _empty_masks(len(clip), logits.shape[1], clip)
                self._threshold(logits, geometry, masks[start : start + len(frames)][window])
                bar.update(len(frames))
        if masks is None:
            raise ValueError("clip must have at least one frame, got none")
        return masks[None] if inputs.ndim == 5 else masks

    def _logits(self, network: Callable[..., Tensor], frames: Tensor, start: int, args: Any, kwargs: Any) -> Tensor:
        if isinstance(network, HasCoarseLogits):
            return _check_finite(network.coarse(frames, *args, **kwargs), start)
        logits, size = network(frames, *args, **kwargs), self.image_size
        if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[::2] != (len(frames), size):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the network must return logits ({len(frames)}, S, {size}, {size}), got {got}")
        return _check_finite(logits, start).float()

    def _threshold(self, logits: Tensor, geometry: LetterboxGeometry, masks: Tensor) -> None:
        """Write into ``masks``, all False, frame by frame: full-size logits of a mini-batch can be gigabytes."""
        if logits.shape[-1] != geometry.size:
            _enlarger(geometry, logits.shape[-1], self.threshold)(logits, out=masks)
            return
        for frame_logits, frame_masks in zip(logits, masks, strict=True):
            enlarged = unletterbox(frame_logits[None], geometry)[0]
            if enlarged.device == masks.device:
                torch.gt(enlarged, self.limit, out=frame_masks)
            else:
                frame_masks.copy_(enlarged > self.limit)


@functools.lru_cache(maxsize=1)
def _enlarger(geometry: LetterboxGeometry, grid_size: int, threshold: float) -> MaskEnlarger:
    return MaskEnlarger(geometry, grid_size, threshold)


def _check_finite(logits: Tensor, start: int) -> Tensor:
    """The sum tells of NaN and infinity in a fraction of the time."""
    if not bool(logits.sum().isfinite()) and not bool(logits.isfinite().all()):
        last = start + len(logits) - 1
        raise ValueError(f"the network returned NaN or infinity for frames {start} to {last}: check its weights")
    return logits


def _check_clip(inputs: Tensor) -> Tensor:
    clip = inputs[0] if inputs.ndim == 5 and len(inputs) == 1 else inputs
    if clip.ndim != 4 or clip.shape[1] != 1:
        raise ValueError(f"clip must be (T, 1, H, W) or (1, T, 1, H, W), grayscale, got {tuple(inputs.shape)}")
    return clip.as_subclass(Tensor)


def _noted(inputs: Tensor, key: str, default: float | None) -> Any:
    """From the meta data of one clip, where a data loader turns a number into a tensor of one."""
    return inputs.meta.get(key, default) if isinstance(inputs, MetaTensor) else default


def _device_of(network: Callable[..., Tensor], default: torch.device) -> torch.device:
    parameters = network.parameters() if isinstance(network, nn.Module) else iter(())
    first = next(parameters, None)
    return default if first is None else first.device


def _empty_masks(num_frames: int, num_structures: int, clip: Tensor) -> Tensor:
    shape = (num_frames, num_structures, *clip.shape[-2:])
    needed, free = math.prod(shape), psutil.virtual_memory().available
    if needed > free:
        raise MemoryError(
            f"masks {shape} need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free: cut the clip into parts"
        )
    return torch.zeros(shape, dtype=torch.bool)
