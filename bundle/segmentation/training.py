"""The networks of phase 2, and what of them is trained: the decoder always; of the student nothing, some, or all."""

from typing import Any

from torch import Tensor, nn

from bundle.segmentation.segmenter import Segmenter
from bundle.students.heads import predict_features
from bundle.weight_decay import weight_decay_groups

ENCODER_TRAINING = ("frozen", "last_stage", "full")


class TrainingSegmenter(nn.Module):
    """A segmenter that also returns what only the losses need."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def train(self, mode: bool = True) -> "TrainingSegmenter":
        """Training mode for what is trained; a part without any trainable parameter stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def forward(self, frames: Tensor, points: Tensor, point_labels: Tensor) -> dict[str, Any]:
        """Encode frames once, decode automatically and from one prompt per frame (:meth:`Segmenter.decode_prompts`).

        Returns:
            ``masks`` ``(B, S, H/4, W/4)``, ``iou`` and ``presence`` ``(B, S)``; ``prompted`` with ``masks``
            ``(B, M, H/4, W/4)`` and ``iou`` ``(B, M)``: three candidates for a single point, else one (SAM's rule); the
            ``embedding`` ``(B, C, H/16, W/16)`` and the trunk's ``stages``.
        """
        stages = self.segmenter.student.stages(frames)
        features = self.segmenter.project_stages(stages)
        automatic = self.segmenter.decode_structures(features)
        prompted = self.segmenter.decode_prompts(features, points, point_labels)
        ambiguous = bool(((point_labels >= 0).sum(dim=1) == 1).all())
        candidates = slice(1, None) if ambiguous else slice(0, 1)
        return {
            **automatic._asdict(),
            "prompted": {"masks": prompted.masks[:, candidates], "iou": prompted.iou[:, candidates]},
            "embedding": features.embedding,
            "stages": stages,
        }


class RetainingSegmenter(nn.Module):
    """A training segmenter that also predicts every teacher's ``features`` from the same encoding, as in phase 1.

    Args:
        network: The network of phase 2.
        heads: One projection head per teacher, by the teacher's name.
    """

    def __init__(self, network: TrainingSegmenter, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.network, self.heads = network, heads

    def forward(self, frames: Tensor, points: Tensor, point_labels: Tensor) -> dict[str, Any]:
        output = self.network(frames, points, point_labels)
        return {**output, **predict_features(self.network.segmenter.student, self.heads, output["stages"])}


class PlainSegmenter(nn.Module):
    """Any network in phase 2's place, as baselines are; prompts are not used, IoU and presence are not predicted.

    Args:
        network: From frames ``(B, 1, H, W)`` to logits ``(B, S, H, W)``, such as MONAI's ``BasicUNet`` or ``DynUNet``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, points: Tensor, point_labels: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        return {"masks": self.network(frames)}


def parameter_groups(
    segmenter: Segmenter, encoder_training: str, encoder_lr: float, decoder_lr: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Freeze the student as asked and return the optimizer's parameter groups.

    A frozen part takes no gradient, and :class:`TrainingSegmenter` keeps it in evaluation mode, so that its batch-norm
    statistics stay too.

    Args:
        segmenter: Changed in place.
        encoder_training: ``frozen``, ``last_stage`` (the trunk's deepest stage and the neck) or ``full``.
        encoder_lr: Learning rate of the student's trained part.
        decoder_lr: Learning rate of prompt encoder, mask decoder and structure queries.
        layer_decay: Every stage of the trunk (the stem is the first) learns this many times as fast as the next deeper
            one; the last, and the neck, at ``encoder_lr``. 1: all alike.

    Returns:
        The decoder's groups, then the encoder's from deep to shallow; see :func:`weight_decay_groups`.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be in (0, 1], got {layer_decay}: 1 trains all stages alike")
    if encoder_training not in ENCODER_TRAINING:
        raise ValueError(f"encoder_training must be one of {ENCODER_TRAINING}, got {encoder_training!r}")
    student = segmenter.student
    if encoder_training != "full":
        student.requires_grad_(False)
    if encoder_training == "last_stage":
        student.trunk.last_stage().requires_grad_(True)
        student.image_encoder.neck.requires_grad_(True)
    encoder_ids = {id(parameter) for parameter in student.parameters()}
    decoder = [parameter for parameter in segmenter.parameters() if id(parameter) not in encoder_ids]
    groups = weight_decay_groups(segmenter, decoder, lr=decoder_lr)
    if layer_decay == 1:
        return groups + weight_decay_groups(student, lr=encoder_lr)
    *shallower, deepest = student.trunk.depths()
    deepest = [*student.image_encoder.neck.parameters(), *deepest]
    for depth, parameters in enumerate([deepest, *reversed(shallower)]):
        groups += weight_decay_groups(student, parameters, lr=encoder_lr * layer_decay**depth)
    return groups
