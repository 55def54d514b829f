"""Trained weights of a whole network: read strictly."""

from pathlib import Path
from typing import TypeVar

from torch import nn

from bundle.teachers.checkpoint import load_strict, read_state_dict

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, checkpoint: str | Path) -> Network:
    """Fill a network with the weights of a file, each tensor of it and nothing else, and set it to evaluation mode.

    Args:
        network: Changed in place.
        checkpoint: A ``.pt`` file of named tensors (read without running code from it) or ``.safetensors``.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its keys or shapes are not this network's.
    """
    path = Path(checkpoint)
    load_strict(network, read_state_dict(path), path)
    return network.eval()
