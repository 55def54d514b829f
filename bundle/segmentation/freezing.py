"""What phase 2 trains: the decoder always; of the student nothing, its last stage, or everything."""

from typing import Any

from bundle.segmentation.segmenter import Segmenter

ENCODER_TRAINING = ("frozen", "last_stage", "full")


def parameter_groups(
    segmenter: Segmenter, encoder_training: str, encoder_lr: float, decoder_lr: float
) -> list[dict[str, Any]]:
    """Freeze the student as asked and return the optimiser's parameter groups.

    A frozen part takes no gradient, and :class:`TrainingSegmenter` keeps it in evaluation mode, so that its batch-norm
    statistics stay too.

    Args:
        segmenter: Changed in place.
        encoder_training: ``frozen``, ``last_stage`` (the trunk's deepest stage and the neck) or ``full``.
        encoder_lr: Learning rate of the student's trained part.
        decoder_lr: Learning rate of prompt encoder, mask decoder and structure queries.

    Raises:
        ValueError: If ``encoder_training`` is none of these.
    """
    if encoder_training not in ENCODER_TRAINING:
        raise ValueError(f"encoder_training must be one of {ENCODER_TRAINING}, got {encoder_training!r}")
    student = segmenter.student
    if encoder_training != "full":
        student.requires_grad_(False)
    if encoder_training == "last_stage":
        student.trunk.last_stage().requires_grad_(True)
        student.image_encoder.neck.requires_grad_(True)
    encoder = [parameter for parameter in student.parameters() if parameter.requires_grad]
    encoder_ids = {id(parameter) for parameter in student.parameters()}
    decoder = [parameter for parameter in segmenter.parameters() if id(parameter) not in encoder_ids]
    groups: list[dict[str, Any]] = [{"params": decoder, "lr": decoder_lr}]
    if encoder:
        groups.append({"params": encoder, "lr": encoder_lr})
    return groups
