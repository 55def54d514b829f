"""From a data loader's batch to a network's input and a loss's target, for MONAI's stock trainer and evaluator."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from bundle.keys import IMAGE, LABEL, VALID
from bundle.losses.segmentation import DISTILLATION
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
        return (
            frames,
            target,
            (),
            {"points": prompts.points.to(device), "point_labels": prompts.point_labels.to(device)},
        )


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
