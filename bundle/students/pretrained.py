"""A student's trunk that starts from published weights: from timm's names, or from a package that brings some."""

from pathlib import Path

import timm
import torch

from bundle.students.card import find_card
from bundle.students.trunk import TimmTrunk
from bundle.teachers import efficientnet_lite0, lite_medsam
from bundle.teachers.backbone import WEIGHT_FILES
from bundle.teachers.checkpoint import file_sha256, find_checkpoint, load_strict, read_state_dict

PACKAGED = {
    "lite_medsam": lite_medsam.packaged_lite_medsam,
    "efficientnet_lite0": efficientnet_lite0.packaged_efficientnet_lite0,
}
"""Sources by name: LiteMedSAM's TinyViT for ``tiny_vit_5m_224``, and weights for ``tf_efficientnet_lite0``."""


def load_pretrained(trunk: TimmTrunk, source: str | Path) -> TimmTrunk:
    """Fill a trunk with published weights, every tensor of it; of LiteMedSAM all but the stem, which stays as it is.

    Args:
        trunk: Changed in place.
        source: A file with timm's names, with a classifier or without; a folder with ``model.safetensors`` or
            ``pytorch_model.bin``; an id of timm's hub, such as ``timm/efficientvit_b0.r224_in1k``; or one of
            :data:`PACKAGED`. The packages' own files are known by their checksums.

    Returns:
        The same trunk.

    Raises:
        FileNotFoundError: If there is no such file here, and none could be fetched.
        CheckpointError: If it is of another model.
    """
    path = find_pretrained(source)
    sha256 = file_sha256(path)
    if source == "lite_medsam" or sha256 == lite_medsam.SHA256:
        lite_medsam.initialize_tiny_vit(trunk.backbone, path)
        return trunk
    if source == "efficientnet_lite0" or sha256 == efficientnet_lite0.SHA256:
        state = efficientnet_lite0.efficientnet_lite0_state_dict(path)
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


def find_pretrained(source: str | Path) -> Path:
    """The file of a source.

    Raises:
        FileNotFoundError: If there is none here, with how to fetch it.
    """
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


def describe_start(pretrained: str | Path | None, checkpoint: str | Path | None = None) -> str | None:
    """File and checksum of the published weights that a student's trunk began with; None: random ones.

    Args:
        pretrained: The source, if it starts from one.
        checkpoint: Otherwise phase 1's ``student.pt``, whose card says what that one had started from.
    """
    if pretrained is None:
        return find_card(checkpoint).get("student_pretrained")
    path = find_pretrained(pretrained)
    return f"{path.name} (sha256 {file_sha256(path)})"
