"""From the tensors of a published file to those of the model that takes them in, as a config can say it."""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Named tensors of a file -> named tensors of a model."""


def rename(
    state: Mapping[str, Tensor], patterns: Mapping[str, str], joined: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Tensor]:
    """Rename tensors, and join such as the file has in pieces.

    Args:
        state: Named tensors.
        patterns: Regular expressions and what replaces them, each applied to every name, in this order.
        joined: New names, each with the (renamed) tensors that are concatenated along dimension 1 to make it.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in patterns.items():
            new = re.sub(pattern, replacement, new)
        if new in renamed:
            raise ValueError(f"patterns {dict(patterns)} give two tensors the name {new}, the second is {name}")
        renamed[new] = value
    for name, pieces in (joined or {}).items():
        missing = [piece for piece in pieces if piece not in renamed]
        if missing:
            raise ValueError(f"{name} is joined from {list(pieces)}, but there is no {', '.join(missing)}")
        renamed[name] = torch.cat([renamed.pop(piece) for piece in pieces], dim=1)
    return renamed


def sum_over_depth(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn 3-D convolutions into 2-D ones by summing their kernels ``(O, I, D, H, W)`` over depth, in single precision.

    What a volume network makes of a volume that is constant along depth, such as a radiograph repeated, away from its
    ends. It undoes the inflation of Carreira & Zisserman 2017 (arXiv 1705.07750), section 2.4.
    """
    return {name: value.float().sum(dim=2) if value.ndim == 5 else value for name, value in state.items()}
