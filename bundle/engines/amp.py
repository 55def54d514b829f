"""Mixed precision of the trained network: lower precision in its forward pass, float32 in weights and losses."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

PRECISIONS = ("float32", "bfloat16", "float16")


class MixedPrecision(Inferer):
    """Call the network under autocast.

    The losses are computed outside, in float32, and so are the parts of the network that switch autocast off. float16
    has a small range: it also needs a gradient scaler, which MONAI's trainer has on a GPU only (``amp``).

    Args:
        precision: "float32" (no autocast), "bfloat16" or "float16".
        device: Where the network is.

    Raises:
        ValueError: If the precision is unknown, or float16 on a CPU.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"training_precision must be one of {PRECISIONS}, got {precision!r}")
        if precision == "float16" and device.type != "cuda":
            raise ValueError(
                f"float16 needs the gradient scaler of a GPU, got device {device}: use bfloat16 or float32"
            )
        self.precision, self.device = precision, device

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The network's output, as the network gives it."""
        if self.precision == "float32":
            return network(inputs, *args, **kwargs)
        with torch.autocast(self.device.type, dtype=getattr(torch, self.precision)):
            return network(inputs, *args, **kwargs)
