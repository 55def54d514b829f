"""From windows of clips to what training and validating the memory need."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bundle.keys import IMAGE, LABEL, VALID
from bundle.segmentation.memory_training import ClipPrompts
from bundle.segmentation.prompts import PromptSampler

Prepared = tuple[Tensor, dict[str, Tensor], tuple[()], dict[str, ClipPrompts]]


class PrepareTrackingBatch:
    """Some objects per clip with a prompt in the first frame, and their masks in the others.

    Args:
        sampler: Draws an object and a prompt from the first frame's labels; everything else from its generator.
        num_structures: Channels of the label.
        objects_per_clip: Objects; a structure may be drawn twice, with different points.
        mask_probability: Share of batches in which the first frame's mask itself is the prompt.
        correction_probability: Share of batches in which a click corrects one of the later frames.
    """

    def __init__(
        self,
        sampler: PromptSampler,
        num_structures: int,
        objects_per_clip: int = 4,
        mask_probability: float = 0.5,
        correction_probability: float = 0.5,
    ) -> None:
        self.sampler, self.num_structures, self.objects_per_clip = sampler, num_structures, objects_per_clip
        self.mask_probability, self.correction_probability = mask_probability, correction_probability

    def __call__(
        self, batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> Prepared:
        """Frames ``(B, T, 1, H, W)``, the target of ``SegmentationLoss`` with frames as channels, and the prompts."""
        frames, label, valid = _move(batchdata, self.num_structures, device, non_blocking, kwargs)
        clip = torch.arange(len(frames), device=device).repeat_interleave(self.objects_per_clip)
        drawn = self.sampler(label[:, 0][clip])
        objects = label[clip, :, drawn.structure]
        is_mask, is_corrected = (self._uniform(1).item() < p for p in self._probabilities)
        corrected = 1 + int(self._uniform(1).item() * (frames.shape[1] - 1)) if is_corrected else None
        prompts = ClipPrompts(
            clip=clip,
            structure=drawn.structure.to(device),
            label=objects,
            points=None if is_mask else drawn.points,
            point_labels=None if is_mask else drawn.point_labels,
            corrected=corrected,
            clicks=self._uniform(len(clip)),
        )
        return frames, _target(prompts, valid), (), {"prompts": prompts}

    @property
    def _probabilities(self) -> tuple[float, float]:
        return self.mask_probability, self.correction_probability

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.sampler.generator)


class PrepareTrackingEvaluation:
    """All structures that the first frame of a clip shows, each prompted by its mask.

    Args:
        num_structures: Channels of the label.
    """

    def __init__(self, num_structures: int) -> None:
        self.num_structures = num_structures

    def __call__(
        self, batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> Prepared:
        """As :class:`PrepareTrackingBatch`."""
        frames, label, valid = _move(batchdata, self.num_structures, device, non_blocking, kwargs)
        clip, structure = label[:, 0].flatten(2).any(-1).nonzero(as_tuple=True)
        prompts = ClipPrompts(clip, structure, label[clip, :, structure], None, None, None, torch.zeros(len(clip)))
        return frames, _target(prompts, valid), (), {"prompts": prompts}


def full_size_masks(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Binary masks and labels ``(N, T - 1, H, W)`` of an evaluator's output, for a metric."""
    label = output["label"]["label"]
    masks = torch.nn.functional.interpolate(output["pred"]["masks"], label.shape[-2:], mode="bilinear")
    return (masks > 0).float(), label


def _target(prompts: ClipPrompts, valid: Tensor) -> dict[str, Tensor]:
    """What the network returns masks for: all frames, but no mask that was given, and the corrected one once more."""
    first = 1 if prompts.points is None else 0
    corrected = [] if prompts.corrected is None else [prompts.corrected]
    wanted = [*range(first, prompts.label.shape[1]), *corrected]
    return {"label": prompts.label[:, wanted], "valid": valid[prompts.clip]}


def _move(
    batchdata: Mapping[str, Any],
    num_structures: int,
    device: torch.device,
    non_blocking: bool,
    kwargs: Mapping[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames ``(B, T, 1, H, W)``, label ``(B, T, S, H, W)`` and valid ``(B, 1, H, W)``."""
    frames, label, valid = (
        torch.as_tensor(batchdata[key])
        .as_subclass(Tensor)
        .to(device, torch.float32, non_blocking=non_blocking, **kwargs)
        for key in (IMAGE, LABEL, VALID)
    )
    return frames.unsqueeze(2), label.unflatten(1, (-1, num_structures)), valid
