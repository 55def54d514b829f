"""An exponential moving average (EMA) of a network's weights, to validate and to save in place of the weights."""

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from torch import nn

from bundle.engines.accumulation import ends_optimizer_step


class WeightAverage:
    """average ← decay · average + (1 − decay) · weights, after every optimizer step; batch statistics too.

    Args:
        network: The network that is trained.
        decay: In [0, 1); 0 keeps no average, and ``network`` is then the trained network itself.

    Raises:
        ValueError: If the decay is outside that range.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay must be at least 0, which is off, and below 1, got {decay}")
        self._handler = EMAHandler(network, momentum=1 - decay, handle_buffers="update") if decay else None
        self.network: nn.Module = network if self._handler is None else self._handler.ema_model

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        if self._handler is not None:
            event = Events.ITERATION_COMPLETED(event_filter=lambda trainer, _: ends_optimizer_step(trainer))
            self._handler.attach(engine, event=event)

    def state_dict(self) -> dict[str, Any]:
        """The average; empty if there is none."""
        return {} if self._handler is None else self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to it."""
        if self._handler is not None:
            self.network.load_state_dict(state)
