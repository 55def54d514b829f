"""Trained weights of a whole network: read strictly."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from tqdm import tqdm

from bundle.segmentation.teacher_decoder import start_decoder
from bundle.weights import check_card, find_card, load_strict, read_state_dict

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, checkpoint: str | Path, may_differ: Collection[str] = ()) -> Network:
    """Fill a network with the weights of a file, each tensor of it and nothing else, and set it to evaluation mode.

    A network that says what it is made for (``settings``) must be made for what the weights' card says.

    Args:
        network: Changed in place.
        checkpoint: A ``.pt`` file of named tensors (read without running code from it) or ``.safetensors``.
        may_differ: Settings that a training may change as it goes on from the weights; the change is said.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its card, keys or shapes are not this network's.
    """
    path = Path(checkpoint)
    settings = dict(getattr(network, "settings", {}))
    changed = {name: settings.pop(name) for name in may_differ if name in settings}
    check_card(path, settings)
    load_strict(network, read_state_dict(path), path)
    _say_changes(path, changed)
    return network.eval()


def _say_changes(path: Path, settings: Mapping[str, Any]) -> None:
    card = find_card(path)
    for name, value in settings.items():
        if card.get(name, value) != value:
            tqdm.write(f"note: goes on with {name} {value}; {path} was trained with {card[name]}")


def start_weights(network: Network, checkpoint: str | Path | None, decoder_checkpoint: str | Path | None) -> Network:
    """What phase 2 begins with: a whole segmenter's weights, at any image size, or else a teacher's decoder, if any.

    Args:
        network: Changed in place.
        checkpoint: As for :func:`load_weights`.
        decoder_checkpoint: As for :func:`bundle.segmentation.teacher_decoder.start_decoder`.
    """
    if checkpoint is not None:
        return load_weights(network, checkpoint, may_differ=["image_size"])
    return start_decoder(network, decoder_checkpoint)  # type: ignore[arg-type,return-value]
