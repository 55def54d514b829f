"""How SAM 2's memory is trained on a frozen segmenter: short clips, one object each, tracked as when it is used.

After SAM 2's own training (arXiv 2408.00714, section 5.2): the first frame is prompted by its mask, a box or points; in
some clips a later frame is corrected by a click into what was wrong.
"""

from typing import Any, NamedTuple

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from bundle.segmentation.memory import Memory, start_memory
from bundle.segmentation.propagation import backbone_output
from bundle.segmentation.segmenter import ImageFeatures, Segmenter


class ClipPrompts(NamedTuple):
    """What is asked of ``N`` objects in ``B`` clips."""

    clip: Tensor  # (N,): clip of each object
    structure: Tensor  # (N,): channel of the structure that each is
    label: Tensor  # (N, T, H, W): true masks; the first is the prompt if there are no points, others place clicks
    points: Tensor | None  # (N, P, 2) in the first frame; None: its mask
    point_labels: Tensor | None  # (N, P), as SAM's
    corrected: int | None  # frame in which one click corrects the mask; None: none
    clicks: Tensor  # (N,): where in the wrong region the click falls, a share in [0, 1) of its pixels


class TrainingMemory(nn.Module):
    """The network of the memory's training; the segmenter is frozen, and only ``memory`` learns.

    Args:
        segmenter: Trained by phase 2.
        model: From :func:`bundle.segmentation.sam2.build_tracker` with this segmenter.
        frames: Some frames ``(B, 1, H, W)`` to start from (:func:`bundle.segmentation.memory.start_memory`).
    """

    def __init__(self, segmenter: Segmenter, model: SAM2Base, frames: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            start_memory(model, segmenter.eval().encode(frames).embedding)
        self.segmenter, self.model = segmenter, model.requires_grad_(True)
        segmenter.requires_grad_(False)
        self.memory = Memory(model)

    def train(self, mode: bool = True) -> "TrainingMemory":
        """Training mode for the memory; the segmenter stays in evaluation mode."""
        super().train(mode)
        self.segmenter.eval()
        return self

    def forward(self, frames: Tensor, prompts: ClipPrompts) -> dict[str, Tensor]:
        """Track every object through its clip of frames ``(B, T, 1, H, W)`` in [0, 1].

        Returns:
            ``masks`` ``(N, M, H/4, W/4)`` and ``presence`` ``(N, M)``: logits of all frames, without the first if its
            mask was the prompt, and of the corrected frame once more.
        """
        outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        self.model.sam_mask_decoder.ask_for(prompts.structure)
        masks, presence = [], []
        for index in range(frames.shape[1]):
            step = _Step(self.model, self._encode(frames[:, index], prompts.clip), index, frames.shape[1], outputs)
            tracked = step.first(prompts) if index == 0 else step.track()
            if index > 0 or prompts.points is not None:
                masks.append(tracked.drawn)
                presence.append(tracked.presence)
            if index == prompts.corrected:
                tracked = step.correct(tracked, prompts)
                corrected = tracked
            step.remember(tracked, is_prompted=index in (0, prompts.corrected))
        if prompts.corrected is not None:
            masks.append(corrected.drawn)
            presence.append(corrected.presence)
        return {"masks": torch.cat(masks, 1), "presence": torch.cat(presence, 1)}

    @torch.no_grad()
    def _encode(self, frames: Tensor, clip: Tensor) -> ImageFeatures:
        embedding, (stride_4, stride_8) = self.segmenter.encode(frames)
        return ImageFeatures(embedding[clip], (stride_4[clip], stride_8[clip]))


class _Tracked(NamedTuple):
    output: dict[str, Any]
    masks: Tensor  # (N, 1, H/4, W/4)
    full_masks: Tensor  # (N, 1, H, W)
    pointer: Tensor  # (N, C)
    presence: Tensor  # (N, 1)
    drawn: Tensor  # (N, 1, H/4, W/4): in training also where the object is judged absent, for the loss


class _Step:
    """One frame, by the parts of ``SAM2Base.track_step``, which keeps the object score to itself in training."""

    def __init__(
        self, model: SAM2Base, features: ImageFeatures, index: int, num_frames: int, outputs: dict[str, dict[int, Any]]
    ) -> None:
        self.model, self.index, self.num_frames, self.outputs = model, index, num_frames, outputs
        prepared = model._prepare_backbone_features(backbone_output(model, features))
        _, self.features, self.positions, self.sizes = prepared

    def first(self, prompts: ClipPrompts) -> _Tracked:
        if prompts.points is None:
            return self._run(mask=prompts.label[:, :1], is_first=True)
        points = {"point_coords": prompts.points, "point_labels": prompts.point_labels}
        return self._run(points=points, is_first=True)

    def track(self) -> _Tracked:
        return self._run()

    def correct(self, tracked: _Tracked, prompts: ClipPrompts) -> _Tracked:
        label = prompts.label[:, self.index : self.index + 1]
        points, labels = correcting_clicks(tracked.full_masks > 0, label > 0.5, prompts.clicks)
        earlier = tracked.masks.detach().clamp(-32.0, 32.0)
        return self._run(points={"point_coords": points, "point_labels": labels}, earlier=earlier)

    def remember(self, tracked: _Tracked, is_prompted: bool) -> None:
        output = {**tracked.output, "obj_ptr": tracked.pointer}
        given = tracked.output["point_inputs"]
        self.model._encode_memory_in_output(
            self.features, self.sizes, given, True, tracked.full_masks, tracked.presence, output
        )
        self.outputs["cond_frame_outputs" if is_prompted else "non_cond_frame_outputs"][self.index] = output

    def _run(
        self,
        points: dict[str, Tensor | None] | None = None,
        mask: Tensor | None = None,
        earlier: Tensor | None = None,
        is_first: bool = False,
    ) -> _Tracked:
        seen = (self.features, self.positions, self.sizes)
        output, (_, _, _, masks, full_masks, pointer, presence), _, _ = self.model._track_step(
            self.index, is_first, *seen, points, mask, self.outputs, self.num_frames, False, earlier
        )
        drawn = self.model.sam_mask_decoder.latest
        return _Tracked(output, masks, full_masks, pointer, presence, masks if drawn is None else drawn)


def correcting_clicks(pred: Tensor, label: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """One click per object into what is wrong; into the object where nothing is, or anywhere if it is not there.

    ``pred`` and ``label`` are masks ``bool (N, 1, H, W)``; ``share`` ``(N,)``, in [0, 1), says which wrong pixel.

    Returns:
        Points ``(N, 1, 2)`` and their labels ``(N, 1)``: 1 on the object, 0 beside it.
    """
    points, labels = [], []
    for wrong, truth, part in zip((pred != label)[:, 0], label[:, 0], share, strict=True):
        region = next(region for region in (wrong, truth, torch.ones_like(truth)) if region.any())
        pixels = region.nonzero()
        row, column = pixels[int(part * len(pixels))]
        points.append(torch.stack([column, row]))
        labels.append(truth[row, column])
    return torch.stack(points)[:, None].float(), torch.stack(labels)[:, None].to(torch.int32)
