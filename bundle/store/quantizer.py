"""The first pass before features are stored as int8: PHI-S and step size from a sample of training views."""

import fcntl
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bundle.losses.statistics import FeatureStatistics
from bundle.store.passes import FillOptions
from bundle.store.precision import PhiSInt8
from bundle.store.shard import StoreError
from bundle.store.store import Request, TeacherIdentity
from bundle.store.unfinished import unfinished_path
from bundle.store.views import View, ViewRecipe, as_float

NUM_SAMPLED = 128
"""Views, spread over all of training, from which PHI-S is measured."""
NUM_FOR_STEP = 16
"""Views of these on which the step size is chosen."""

logger = logging.getLogger(__name__)


def fit_quantizer(
    folder: Path, teacher: nn.Module, requests: Sequence[Request], recipe: ViewRecipe, options: FillOptions
) -> PhiSInt8:
    """The folder's quantizer; the first process to come measures it, the others wait for the file.

    Args:
        folder: Of the teacher's int8 features.
        teacher: The live teacher, on the device of ``options``.
        requests: All training views, in the same order in every process.
        recipe: Makes them.
        options: Batch size and device.
    """
    path = folder / "quantizer.safetensors"
    with (folder / ".quantizer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            logger.info("measuring PHI-S of %s for int8", folder.name)
            quantizer = _measure(teacher, _sample(requests, recipe), options)
            with unfinished_path(path) as temporary:
                quantizer.save(temporary)
    return PhiSInt8.load(path)


def _sample(requests: Sequence[Request], recipe: ViewRecipe) -> list[View]:
    """Views spread evenly, without frames that cannot be read (they are named later)."""
    chosen = np.unique(np.linspace(0, len(requests) - 1, min(len(requests), NUM_SAMPLED)).astype(int))
    views = []
    for index in chosen:
        entry, number = requests[index]
        try:
            views.append(recipe.render(*recipe.frame(entry), number))
        except (ValueError, OSError):
            continue
    if not views:
        raise StoreError("none of the training frames that were sampled can be read: check the data list")
    return views


@torch.no_grad()
def _measure(teacher: nn.Module, views: Sequence[View], options: FillOptions) -> PhiSInt8:
    identity = TeacherIdentity.of(teacher)
    statistics = FeatureStatistics(identity.embed_dim, identity.address)
    stride = max(1, len(views) // NUM_FOR_STEP)
    kept: list[Tensor] = []
    for start in range(0, len(views), options.batch_size):
        batch = views[start : start + options.batch_size]
        features = teacher(as_float(torch.stack([view.image for view in batch])).to(options.device)).float().cpu()
        coverage = teacher.valid_grid(torch.stack([view.valid for view in batch]).to(options.device))  # type: ignore[operator]
        statistics.update(features, coverage.cpu())
        kept += [features[row : row + 1] for row in range(len(batch)) if (start + row) % stride == 0]
    return PhiSInt8.fit(statistics, kept)
