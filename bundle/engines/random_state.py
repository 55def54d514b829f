"""The states of all random generators that a training step may draw from."""

import random
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
import torch.distributed as dist


class RandomState:
    """Python's, NumPy's and PyTorch's global generators, on every GPU, and generators of our own.

    With several processes each has its own states; a checkpoint holds all of them, in order of rank.

    Args:
        generators: Generators by name that are drawn from beside the global ones.
    """

    def __init__(self, generators: Mapping[str, torch.Generator] | None = None) -> None:
        self.generators = dict(generators or {})

    def state_dict(self) -> dict[str, Any]:
        """States of all processes; called in all of them."""
        if idist.get_world_size() == 1:
            return {"ranks": [self._capture()]}
        ranks: list[Any] = [None] * idist.get_world_size()
        dist.all_gather_object(ranks, self._capture())
        return {"ranks": ranks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to this process's states."""
        own = state["ranks"][idist.get_rank()]
        random.setstate(own["python"])
        name, keys, *position = own["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *position))  # noqa: NPY002 - as below
        torch.set_rng_state(own["torch"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(own["cuda"])
        for generator_name, generator in self.generators.items():
            generator.set_state(own["generators"][generator_name])

    def _capture(self) -> dict[str, Any]:
        name, keys, *position = np.random.get_state()  # noqa: NPY002 - MONAI's and others' draws use the global one
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *position),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
        }
