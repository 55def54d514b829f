"""A teacher's statistics as a shard of its features carries them: float64, of the features before they were encoded."""

from collections.abc import Mapping

from torch import Tensor

from bundle.losses.statistics import FeatureStatistics
from bundle.store.errors import REMEDY, StoreError
from bundle.store.shard import Shard

MEAN, SCATTER = "mean", "scatter"


def to_shard(statistics: FeatureStatistics) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Extra tensors and metadata of a shard."""
    numbers = {name: str(getattr(statistics, name)) for name in ("num_tokens", "num_images", "source", "sha256")}
    return {MEAN: statistics.mean, SCATTER: statistics.scatter}, numbers


def from_shard(shard: Shard) -> FeatureStatistics | None:
    """Statistics of all entries of a shard; None if it carries none, as one that was mended.

    Raises:
        StoreError: If they are damaged.
    """
    extra: Mapping[str, Tensor] = shard.extra()
    if not extra:
        return None
    statistics = FeatureStatistics(len(extra[MEAN]), shard.metadata["source"])
    statistics.num_tokens, statistics.num_images = (int(shard.metadata[n]) for n in ("num_tokens", "num_images"))
    statistics.mean, statistics.scatter = extra[MEAN].clone(), extra[SCATTER].clone()
    if statistics.sha256 != shard.metadata["sha256"]:
        raise StoreError(f"the statistics in {shard.path} are damaged: delete this file, then {REMEDY}")
    return statistics
