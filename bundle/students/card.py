"""The card beside a file of weights, against the settings with which the weights are to be used."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def find_card(checkpoint: str | Path | None) -> dict[str, Any]:
    """``<name>.json`` beside weights; empty if there is none, or it is of something else."""
    if checkpoint is None:
        return {}
    try:
        card = json.loads(Path(checkpoint).with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def check_card(checkpoint: str | Path, settings: Mapping[str, Any]) -> None:
    """Refuse to use weights otherwise than as they were trained: strict loading does not notice another image size.

    Args:
        checkpoint: The weights; without a card beside them nothing is known.
        settings: Values by the names of the config.

    Raises:
        ValueError: Naming the setting, both values and the remedy.
    """
    card = find_card(checkpoint)
    for name, value in settings.items():
        if name in card and _plain(card[name]) != _plain(value):
            raise ValueError(
                f"{name} is {_plain(value)}, but {checkpoint} was trained with {name} {_plain(card[name])} "
                f"({Path(checkpoint).with_suffix('.json').name}): leave --{name} out, give that value, or other weights"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
