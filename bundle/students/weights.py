"""What a student starts from: phase 1's file, loaded strictly, or published weights for its trunk."""

from pathlib import Path

import timm
import torch

from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.teachers import efficientnet_lite0, lite_medsam
from bundle.teachers.backbone import WEIGHT_FILES
from bundle.teachers.find import find_checkpoint
from bundle.weights import check_card, file_sha256, find_card, load_strict, read_state_dict

PACKAGED = {
    "lite_medsam": lite_medsam.packaged_lite_medsam,
    "efficientnet_lite0": efficientnet_lite0.packaged_efficientnet_lite0,
}
"""Sources by name: LiteMedSAM's TinyViT for ``tiny_vit_5m_224``, and weights for ``tf_efficientnet_lite0``."""


def load_student(
    student: StudentEncoder, checkpoint: str | Path | None, pretrained: str | Path | None = None
) -> StudentEncoder:
    """Load phase 1's weights into a student, or published ones into its trunk.

    Args:
        student: Student of the same backbone and ``embed_dim``; changed in place.
        checkpoint: Phase 1's ``student.pt``; None keeps the weights that the student has, which trains without
            distillation.
        pretrained: Published weights for the trunk, as for :func:`load_pretrained`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its card, keys or shapes are not this student's, or both are given.
    """
    if checkpoint is not None and pretrained is not None:
        raise ValueError(
            f"a student starts from student_checkpoint ({checkpoint}) or student_pretrained ({pretrained}), got both: "
            "leave student_pretrained out, or give --student_checkpoint None"
        )
    if pretrained is not None:
        load_pretrained(student.trunk, pretrained)
    if checkpoint is not None:
        path = Path(checkpoint)
        check_card(path, student.settings)
        load_strict(student, read_state_dict(path), path)
    return student


def load_pretrained(trunk: TimmTrunk, source: str | Path) -> TimmTrunk:
    """Fill a trunk with published weights, every tensor of it; of LiteMedSAM all but the stem, which stays as it is.

    Args:
        trunk: Changed in place.
        source: A file with timm's names, with a classifier or without; a folder with ``model.safetensors`` or
            ``pytorch_model.bin``; an id of timm's hub, such as ``timm/efficientvit_b0.r224_in1k``; or one of
            :data:`PACKAGED`. The packages' own files are known by their checksums.

    Raises:
        FileNotFoundError: If there is no such file here, and none could be fetched.
        WeightsError: If it is of another model.
    """
    path = _find_pretrained(source)
    sha256 = file_sha256(path)
    if source == "lite_medsam" or sha256 == lite_medsam.SHA256:
        lite_medsam.initialize_tiny_vit(trunk.backbone, path)
        return trunk
    if source == "efficientnet_lite0" or sha256 == efficientnet_lite0.SHA256:
        encoder = efficientnet_lite0.load_efficientnet_lite0(path).encoder
        state = encoder.model.state_dict()  # type: ignore[union-attr]
    else:
        state = read_state_dict(path)
    with torch.device("meta"):
        whole = timm.create_model(trunk.model_name)
    # features_only flattens stages.0 to stages_0, or puts the whole model below "model".
    flattened = {name.replace(".", "_"): name for name, _ in whole.named_modules()}
    published = {}
    for key in trunk.backbone.state_dict():
        head, _, rest = key.partition(".")
        known = key in whole.state_dict()
        published[key] = key if known else rest if head == "model" else f"{flattened[head]}.{rest}"
    beyond = whole.state_dict().keys() - set(published.values())  # the classifier, and what leads to it alone
    load_strict(trunk.backbone, state, path, beyond, published_name=lambda name: published.get(name, name))
    trunk.train(trunk.training)  # empties what timm's attention keeps of the weights before
    return trunk


def describe_start(pretrained: str | Path | None, checkpoint: str | Path | None = None) -> str | None:
    """File and checksum of the published weights that a student's trunk began with; None: random ones.

    Args:
        pretrained: The source, if it starts from one.
        checkpoint: Otherwise phase 1's ``student.pt``, whose card says what that one had started from.
    """
    if pretrained is None:
        return find_card(checkpoint).get("student_pretrained")
    path = _find_pretrained(pretrained)
    return f"{path.name} (sha256 {file_sha256(path)})"


def _find_pretrained(source: str | Path) -> Path:
    if source in PACKAGED:
        return PACKAGED[str(source)]()
    try:
        return find_checkpoint(source, WEIGHT_FILES)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"student_pretrained is {source}, which is no file here, no folder with {' or '.join(WEIGHT_FILES)}, none "
            f"of {', '.join(PACKAGED)}, and no hub id that can be reached: on a machine with network access run "
            "`hf download timm/<model>.<tag> model.safetensors --local-dir <folder>`, copy the folder here and name it"
        ) from error
