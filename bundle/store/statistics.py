"""Statistics of the stored features: merged from the shards, without running a teacher."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bundle.losses.fit import empty_statistics, fit_standardizers
from bundle.losses.statistics import FeatureStatistics, save_statistics
from bundle.ranks import rank
from bundle.store.dataset import StoredViews
from bundle.store.shard import REMEDY, Shard, StoreError
from bundle.store.views import read_view


def save_stored_statistics(
    views: StoredViews, teachers: Mapping[str, nn.Module], path: str | Path, frames_id: str = ""
) -> Path:
    """Write the statistics where ``fit_standardizers`` finds them, so that it runs no teacher.

    Of several processes the first writes; ``fit_standardizers`` tells the others. Arguments are those of
    :func:`stored_statistics` and ``fit_standardizers``; returns ``path``.
    """
    if rank() > 0:
        return Path(path)
    labeled = {}
    for name, measured in stored_statistics(views, teachers).items():
        labeled[name] = empty_statistics(teachers[name], frames_id)
        measured.source = labeled[name].source
        labeled[name].merge(measured)
    save_statistics(labeled, path)
    return Path(path)


def stored_standardizers(
    views: StoredViews,
    teachers: Mapping[str, nn.Module],
    kind: Callable[..., Any],
    path: str | Path,
    frames_id: str | None = "",
) -> dict[str, nn.Module]:
    """As :func:`bundle.losses.fit.fit_standardizers`, from the training views' stored features; no teacher runs."""
    if frames_id is not None:  # else the file's statistics of whatever frames
        save_stored_statistics(views, teachers, path, frames_id)
    return fit_standardizers(teachers, (), kind, path, None, frames_id)


def stored_statistics(views: StoredViews, teachers: Mapping[str, nn.Module]) -> dict[str, FeatureStatistics]:
    """Feature statistics over all distinct training views of a data set, by teacher.

    Shards that belong to the data set as a whole give the float64 statistics that they carry; of the others (after the
    data list has changed) the wanted features are read and decoded.
    """
    return {name: _merge(views, name, teacher) for name, teacher in teachers.items()}


def _merge(views: StoredViews, name: str, teacher: nn.Module) -> FeatureStatistics:
    features = views.features[name]
    statistics = FeatureStatistics(features.teacher.embed_dim, features.teacher.address)
    places, first = np.unique(views.feature_rows[name], axis=0, return_index=True)
    for number in np.unique(places[:, 0]):
        shard = features.table.shard(number)
        wanted = places[:, 0] == number
        whole = _statistics_of(shard) if wanted.sum() == len(shard) else None
        if whole is not None:
            statistics.merge(whole)
            continue
        for row, index in zip(places[wanted, 1], first[wanted], strict=True):
            view_shard, view_row = views.view_rows[index]
            valid = read_view(views.store.views.read_at(view_shard, view_row)).valid
            decoded = features.codec(features.table.read_at(number, row)["features"][None])
            statistics.update(decoded, teacher.valid_grid(valid[None]))  # type: ignore[operator]
    return statistics


def _statistics_of(shard: Shard) -> FeatureStatistics | None:
    """Statistics of all entries of a shard; None if it carries none, as one that was mended."""
    moments = shard.extra()
    if not moments:
        return None
    try:
        return FeatureStatistics.restored(moments, shard.metadata)
    except ValueError as error:
        raise StoreError(f"the statistics in {shard.path} are damaged: delete this file, then {REMEDY}") from error
