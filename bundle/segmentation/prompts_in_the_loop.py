"""Distillation with prompts in the loop (EdgeSAM, arXiv 2312.06660): masks are compared, not only features."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from bundle.losses.distillation import DistillationLoss, as_float32
from bundle.segmentation.teacher_decoder import TeacherDecoder


class PromptsInTheLoop(nn.Module):
    """Distillation loss + weight · distance between the masks that a teacher's frozen decoder gives for random boxes.

    The decoder answers the same boxes on the teacher's features and on the student's; gradients pass through it. No
    label is used: EdgeSAM's prompts come from labels and from where two masks differ, here they are boxes of any place.

    Args:
        distillation: The loss of phase 1.
        decoder: The teacher's decoder.
        teacher: The teacher's name in phase 1.
        weight: Factor of the masks' distance; positive.
        num_frames: Frames of a batch that are prompted, since the decoder costs more than a light student.
    """

    def __init__(
        self,
        distillation: DistillationLoss,
        decoder: TeacherDecoder,
        teacher: str,
        weight: float = 1.0,
        num_frames: int = 2,
    ) -> None:
        super().__init__()
        if weight <= 0 or num_frames < 1:
            raise ValueError(f"weight and num_frames must be positive, got {weight} and {num_frames}")
        self.distillation, self.decoder, self.teacher = distillation, decoder, teacher
        self.weight, self.num_frames = weight, num_frames
        self.dice = DiceLoss(sigmoid=True)

    @property
    def latest(self) -> dict[str, float]:
        """Terms of the latest call, for the log."""
        return self.distillation.latest

    def forward(self, pred: Mapping[str, Any], target: Mapping[str, Any]) -> Tensor:
        """Compute the loss; arguments as of :class:`DistillationLoss`."""
        total = self.distillation(pred, target)
        standardizers, names = self.distillation.standardizers, self.decoder.names(self.teacher)
        theirs = {name: as_float32(target["features"][name][: self.num_frames]) for name in names}
        ours = {name: as_float32(pred["features"][name][: self.num_frames]) for name in names}
        ours = {name: standardizers[name].inverse(value) for name, value in ours.items()}  # type: ignore[operator]
        boxes = draw_boxes(len(theirs[self.teacher]), self.decoder.input_size).to(total.device)
        with torch.autocast(total.device.type, enabled=False):
            with torch.no_grad():
                wanted = self.decoder(self.decoder.take(theirs, self.teacher), boxes=boxes)
            answers = self.decoder(self.decoder.take(ours, self.teacher), boxes=boxes)
        distance = F.binary_cross_entropy_with_logits(answers, wanted.sigmoid())
        distance = distance + self.dice(answers, (wanted > 0).float())
        self.distillation.latest["loss/prompted_masks"] = float(distance.detach())
        return total + self.weight * distance


def draw_boxes(number: int, size: int) -> Tensor:
    """Boxes ``(number, 4)`` of any place, each side from a tenth to the whole of an image of ``size`` pixels."""
    sides = torch.rand(number, 2) * 0.9 + 0.1
    corner = torch.rand(number, 2) * (1 - sides)
    return torch.cat([corner, corner + sides], dim=1) * (size - 1)
