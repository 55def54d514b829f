"""What belongs to a file of weights: the network they fit, and the images they were trained on."""

import json
from pathlib import Path
from typing import Any

from bundle.export.checkpoint import load_weights
from bundle.paths import ROOT
from bundle.segmentation.segmenter import Segmenter
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

KEYS = ("student_backbone", "embed_dim", "image_size", "structures")  # names as in the configs


def read_model_card(checkpoint: str | Path) -> dict[str, Any]:
    """Read ``<name>.json`` beside a segmenter's weights, which training writes.

    Weights alone do not tell the size of the images they were trained on, and another size gives poor masks in silence.

    Returns:
        ``student_backbone``, ``embed_dim``, ``image_size`` in pixels, ``structures`` in channel order, and whatever
        else the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such card.
    """
    path = Path(checkpoint).with_suffix(".json")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no {path.name} beside {checkpoint}, which says what the weights fit: "
            f"give all of {', '.join(f'--{key}' for key in KEYS)}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, as training writes it: {error}") from None
    missing = [key for key in KEYS if not isinstance(card, dict) or key not in card]
    if missing:
        raise ValueError(f"{path} must hold {', '.join(KEYS)}, lacks {', '.join(missing)}")
    return card


def load_segmenter(checkpoint: str | Path = ROOT / "models" / "model.pt") -> Segmenter:
    """The segmenter of a card, with the weights beside it, in evaluation mode; by default the shipped one."""
    card = read_model_card(checkpoint)
    student = StudentEncoder(TimmTrunk(card["student_backbone"]), card["embed_dim"])
    return load_weights(Segmenter(student, card["structures"], card["image_size"]), checkpoint)
