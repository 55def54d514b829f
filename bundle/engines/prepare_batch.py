"""From a data loader's batch to a network's input and a loss's target, for MONAI's stock trainer and evaluator."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from bundle.keys import IMAGE, LABEL, VALID
from bundle.losses.segmentation import DISTILLATION
from bundle.segmentation.memory_training import ClipPrompts
from bundle.segmentation.prompts import PromptSampler
from bundle.store.dataset import FEATURES, MOVED
from bundle.store.views import as_float
from bundle.transforms.affine import move_features


class PrepareDistillationBatch:
    """Phase 1: frames for the student, and the live teachers' features of the same frames.

    Args:
        teachers: Frozen teachers by name; held here and not by the trained network, so that they are in no optimizer
            and no checkpoint.
    """

    def __init__(self, teachers: Mapping[str, nn.Module]) -> None:
        self.teachers = dict(teachers)

    def __call__(
        self, batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
        """Frames ``(B, 1, H, W)``; per teacher its features ``(B, C, h, w)`` and the share of image in each cell."""

        def move(tensor: Tensor) -> Tensor:
            return _to_device(tensor, device, non_blocking, kwargs)

        frames, valid = move(batchdata[IMAGE]), move(batchdata[VALID])
        frames = as_float(frames) if frames.dtype == torch.uint8 else frames
        coverage = {name: teacher.valid_grid(valid) for name, teacher in self.teachers.items()}  # type: ignore[operator]
        return frames, {"features": self.features(frames, batchdata, move), "valid": coverage}

    def features(
        self, frames: Tensor, _batchdata: Mapping[str, Any], _move: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Every teacher's features of the frames, on their device."""
        return {name: teacher.to(frames.device)(frames) for name, teacher in self.teachers.items()}


class PrepareStoredBatch(PrepareDistillationBatch):
    """Phase 1 from the store: the same for the same views; no teacher runs.

    Args:
        teachers: The teachers by name, for their feature grids only.
        decoders: What turns each teacher's stored features into float32, such as ``StoredViews.decoders``.
    """

    def __init__(self, teachers: Mapping[str, nn.Module], decoders: Mapping[str, nn.Module]) -> None:
        super().__init__(teachers)
        self.decoders = dict(decoders)

    @torch.no_grad()
    def features(
        self, frames: Tensor, batchdata: Mapping[str, Any], move: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Decoded from the batch, and moved as its frames were."""
        stored = batchdata[FEATURES]
        found = {name: self.decoders[name].to(frames.device)(move(stored[name])) for name in self.teachers}
        if MOVED not in batchdata:
            return found
        matrices = move(batchdata[MOVED])
        return {name: move_features(features, matrices) for name, features in found.items()}


class PrepareSegmentationBatch:
    """Phase 2: frames and a prompt per frame for the network; masks and the prompted mask for the loss.

    Args:
        sampler: Draws the prompts from the labels.
    """

    def __init__(self, sampler: PromptSampler) -> None:
        self.sampler = sampler

    def __call__(
        self, batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Tensor], tuple[()], dict[str, Tensor]]:
        """Frames, the target of :class:`bundle.losses.segmentation.SegmentationLoss`, and the network's prompts."""
        prompts = self.sampler(_plain(batchdata[LABEL]))
        frames = _to_device(batchdata[IMAGE], device, non_blocking, kwargs)
        label = _to_device(batchdata[LABEL], device, non_blocking, kwargs)
        valid = _to_device(batchdata[VALID], device, non_blocking, kwargs)
        rows = torch.arange(len(label), device=label.device)
        prompted_label = label[rows, prompts.structure.to(label.device)].unsqueeze(1)
        target = {"label": label, "valid": valid, "prompted_label": prompted_label}
        drawn = {"points": prompts.points.to(device), "point_labels": prompts.point_labels.to(device)}
        return frames, target, (), drawn


class PrepareRetainedBatch:
    """Phase 2 with phase 1's loss beside its own: the target of both.

    Args:
        segmentation: Prepares the frames, prompts and masks.
        distillation: Prepares the teachers' features of the same frames.
    """

    def __init__(self, segmentation: PrepareSegmentationBatch, distillation: PrepareDistillationBatch) -> None:
        self.segmentation, self.distillation = segmentation, distillation

    def __call__(
        self, batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Any], tuple[()], dict[str, Tensor]]:
        """As :class:`PrepareSegmentationBatch`; the target of phase 1 is the target's ``distillation``."""
        frames, target, args, prompts = self.segmentation(batchdata, device, non_blocking, **kwargs)
        _, features = self.distillation(batchdata, device, non_blocking, **kwargs)
        return frames, {**target, DISTILLATION: features}, args, prompts


def prepare_evaluation_batch(
    batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Frames ``(B, 1, H, W)`` and masks ``(B, S, H, W)``."""
    return (
        _to_device(batchdata[IMAGE], device, non_blocking, kwargs),
        _to_device(batchdata[LABEL], device, non_blocking, kwargs),
    )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _to_device(tensor: Tensor, device: torch.device, non_blocking: bool, kwargs: Mapping[str, Any]) -> Tensor:
    return _plain(tensor).to(device=device, non_blocking=non_blocking, **kwargs)


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
        is_mask = self._uniform(1).item() < self.mask_probability
        is_corrected = self._uniform(1).item() < self.correction_probability
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

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.sampler.generator)


class PrepareTrackingEvaluation:
    """All of the label's ``num_structures`` that the first frame of a clip shows, each prompted by its mask."""

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
        _to_device(torch.as_tensor(batchdata[key]), device, non_blocking, kwargs).float()
        for key in (IMAGE, LABEL, VALID)
    )
    return frames.unsqueeze(2), label.unflatten(1, (-1, num_structures)), valid
