"""What phase 2 trains: the decoder always; of the student nothing, its last stage, or everything, and how fast."""

from typing import Any

from bundle.segmentation.segmenter import Segmenter
from bundle.weight_decay import weight_decay_groups

ENCODER_TRAINING = ("frozen", "last_stage", "full")


def parameter_groups(
    segmenter: Segmenter, encoder_training: str, encoder_lr: float, decoder_lr: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Freeze the student as asked and return the optimiser's parameter groups.

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

    Raises:
        ValueError: If ``encoder_training`` is none of these, or ``layer_decay`` is not in (0, 1].
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
