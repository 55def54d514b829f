"""What a training run is for: the weights of a network, written when it ends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from bundle.atomic import write_json
from bundle.engines.checkpoint_folder import write_whole
from bundle.losses.distillation import DistillationLoss
from bundle.students.heads import with_inverses


class SaveWeights:
    """Write a network's ``state_dict`` when training is complete; the file is whole or not there.

    Args:
        network: The network.
        path: The file.
        card: What a user of the weights has to know, such as the size of the images; written beside them as
            ``<name>.json``. See :func:`bundle.export.model_card.read_model_card`.
    """

    def __init__(self, network: nn.Module, path: str | Path, card: Mapping[str, Any] | None = None) -> None:
        self.network, self.path, self.card = network, Path(path), card

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, _engine: Engine) -> None:
        if idist.get_rank() == 0:
            if self.card is not None:
                write_json(self.path.with_suffix(".json"), dict(self.card))
            write_whole(self.path, lambda file: torch.save(self.network.state_dict(), file))


def save_heads(
    heads: nn.ModuleDict, path: str | Path, loss: DistillationLoss, teachers: Mapping[str, Any], image_size: int
) -> SaveWeights:
    """Phase 1's ``heads.pt``: the heads with the inverses of their standardizers.

    Args:
        heads: A :class:`bundle.students.heads.ProjectionHead` per teacher.
        path: The file.
        loss: Of the training.
        teachers: By name.
        image_size: Side of the student's frames.
    """
    card = {
        "fine_heads": all(head.is_fine for head in heads.values()),
        "image_size": image_size,
        "grid_sizes": {name: teacher.grid_size for name, teacher in teachers.items()},
    }
    standardizers: Mapping[str, Any] = dict(loss.standardizers.items())
    return SaveWeights(with_inverses(heads, standardizers), path, card)
