"""What a training run is for: the weights of a network, written when it ends."""

from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from bundle.engines.checkpoint_folder import write_whole


class SaveWeights:
    """Write a network's ``state_dict`` when training is complete; the file is whole or not there.

    Args:
        network: The network.
        path: The file.
    """

    def __init__(self, network: nn.Module, path: str | Path) -> None:
        self.network, self.path = network, Path(path)

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, _engine: Engine) -> None:
        if idist.get_rank() == 0:
            write_whole(self.path, lambda file: torch.save(self.network.state_dict(), file))
