"""The stage that fills the store: views of all frames, every teacher's features of them, and their statistics."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from bundle.store.passes import BlockViews, FeaturePass, FillOptions, ViewPass
from bundle.store.precision import Codec, Float16
from bundle.store.quantizer import fit_quantizer
from bundle.store.shard import REMEDY, StoreError
from bundle.store.store import (
    FeatureStore,
    FeatureTable,
    Finder,
    Found,
    Request,
    TeacherIdentity,
    identities,
    make_requests,
    training_views,
)
from bundle.store.unfinished import remove_unfinished, unfinished_path
from bundle.store.views import ViewRecipe

LARGEST_BLOCK = 128
"""Views per block however small the features are: what a killed run has to do again."""
NUM_SHOWN = 10
"""Clips with unreadable frames that an error names."""
FILE_BYTES = 4096
"""A shard's header, and the rest of its last block on the disk."""
ADDRESS_BYTES = 24
"""An entry's address and checksum."""
RESERVE = 0.02
"""Share of the free disk that is left alone."""
Block: TypeAlias = Sequence[Request]


class StoreFiller:
    """Make what the store lacks of a data list; what it has is kept, and verified.

    Work is cut into blocks of successive views, which become a shard of each table. A block is done when its shards are
    there: a run that was killed goes on with the next, and gives the same bits as one that was not.

    Args:
        folder: The store.
        recipe: Makes the views.
        training: Entries of ``load_datalist`` that get ``num_views`` views each.
        validation: Entries that get view 0.
        teachers: Live teachers by name.
        num_views: Augmented views per training frame; with 0 training sees view 0.
        options: How it is filled.
    """

    def __init__(
        self,
        folder: str | Path,
        recipe: ViewRecipe,
        training: Sequence[Mapping[str, Any]],
        validation: Sequence[Mapping[str, Any]],
        teachers: Mapping[str, nn.Module],
        num_views: int,
        options: FillOptions,
    ) -> None:
        self.folder, self.recipe, self.teachers, self.options = Path(folder), recipe, dict(teachers), options
        self.training = make_requests(training, training_views(num_views))
        self.validation = make_requests(validation, [0])

    def run(self, rank: int = 0, num_ranks: int = 1) -> None:
        """Fill the store, or this process's share of ``num_ranks``.

        Raises:
            StoreError: If the disk is too small or full, or, after everything else is done, if frames cannot be read.
        """
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank must be in [0, {num_ranks}), got {rank}")
        store = FeatureStore(self.folder, mend=True)
        store.mark()
        remove_unfinished(self.folder)
        if self.options.verify:
            store.frames.mend_all()
        tables = {name: self._open(store, name, identity) for name, identity in identities(self.teachers).items()}
        finder = Finder(store, self.recipe)
        size = self._block_size(tables)
        blocks = self._blocks(size)
        blocks = [blocks[index] for index in np.array_split(np.arange(len(blocks)), num_ranks)[rank]]
        share = [request for block in blocks for request in block]
        plan = make_plan(list(finder.find(share)), tables, self.options.image_size, size)
        tqdm.write(f"store {self.folder}: {plan}")
        check_disk(self.folder, plan.num_bytes)
        view_pass = ViewPass(store, finder, self.options)
        feature_passes = [FeaturePass(name, self.teachers[name], table, self.options) for name, table in tables.items()]
        with tqdm(total=len(share), desc="store", unit="view", disable=rank > 0) as progress:
            for block, views in zip(blocks, _one_ahead(view_pass.run, blocks), strict=True):
                for feature_pass in feature_passes:
                    feature_pass.run(views)
                progress.update(len(block))
        _report(view_pass.unreadable)

    def _open(self, store: FeatureStore, name: str, identity: TeacherIdentity) -> FeatureTable:
        folder = store.feature_folder(identity, self.options.precision)
        folder.mkdir(parents=True, exist_ok=True)
        teacher = self.teachers[name].to(self.options.device)
        codec: Codec = Float16()
        if self.options.precision == "int8":
            codec = fit_quantizer(folder, teacher, self.training, self.recipe, self.options)
        with unfinished_path(folder / "teacher.json") as temporary:
            temporary.write_text(json.dumps({"name": name, **vars(identity)}, indent=2) + "\n", encoding="utf-8")
        return FeatureTable(folder, identity, codec, mend=True)

    def _block_size(self, tables: Mapping[str, FeatureTable]) -> int:
        largest = max(feature_bytes(table.teacher, table.codec.dtype) for table in tables.values())
        size = min(self.options.shard_mib * 2**20 / largest, LARGEST_BLOCK)
        return self.options.batch_size * max(1, int(size / self.options.batch_size))

    def _blocks(self, size: int) -> list[list[Request]]:
        """Training and validation never share a block, so that a shard's statistics are of one."""
        parts = (self.training, self.validation)
        return [part[start : start + size] for part in parts for start in range(0, len(part), size)]


class Plan(NamedTuple):
    """Work that is left: views needed, views and features (at most: equal frames share one) to make, and their disk."""

    num_requests: int
    num_views: int
    num_features: dict[str, int]
    num_bytes: int

    def __str__(self) -> str:
        features = ", ".join(f"{count} of {name}" for name, count in self.num_features.items())
        size = f"{self.num_bytes / 2**30:.2f} GiB"
        return f"{self.num_requests} views needed; to make: {self.num_views} views, features {features}; {size}"


def make_plan(found: Sequence[Found], tables: Mapping[str, FeatureTable], image_size: int, shard_size: int) -> Plan:
    """Count what is missing, from addresses alone; a shard of ``shard_size`` entries carries statistics."""
    num_views = sum(entry.content is None for entry in found)
    # 8-bit pixels, a bit for each that is valid, the address of its content, and its own
    view_bytes = image_size**2 + -(-(image_size**2) // 8) + 16 + ADDRESS_BYTES
    num_bytes = num_views * view_bytes + 2 * FILE_BYTES * -(-num_views // shard_size)
    num_features = {}
    for name, table in tables.items():
        missing = {entry.content for entry in found if entry.content and entry.content not in table.table}
        num_features[name] = len(missing) + num_views
        statistics_bytes = 8 * (table.teacher.embed_dim**2 + table.teacher.embed_dim)
        num_bytes += num_features[name] * feature_bytes(table.teacher, table.codec.dtype)
        num_bytes += -(-num_features[name] // shard_size) * (statistics_bytes + FILE_BYTES)
    return Plan(len(found), num_views, num_features, num_bytes)


def feature_bytes(teacher: TeacherIdentity, dtype: torch.dtype) -> int:
    """Disk for one teacher's features of one view."""
    return teacher.embed_dim * teacher.grid_size**2 * dtype.itemsize + ADDRESS_BYTES


def check_disk(folder: Path, num_bytes: int) -> None:
    """Refuse to start what cannot end well, on a disk with less room than that."""
    free = int(shutil.disk_usage(folder).free * (1 - RESERVE))
    if num_bytes > free:
        raise StoreError(
            f"the store {folder} needs {num_bytes / 2**30:.2f} GiB more, its disk has {free / 2**30:.2f} GiB free: free"
            " some space, name another store_dir, lower num_views, or use precision int8"
        )


def _one_ahead(function: Callable[[Block], BlockViews], blocks: Sequence[Block]) -> Iterator[BlockViews]:
    """The function's results; the next one is made in a thread while this one is used."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = [thread.submit(function, block) for block in blocks[:1]]
        for following in [*blocks[1:], None]:
            if upcoming:
                views = upcoming.pop().result()
                upcoming += [thread.submit(function, following)] if following is not None else []
                yield views


def _report(unreadable: Mapping[tuple[str, int], str]) -> None:
    if not unreadable:
        return
    frames: dict[tuple[str, str], list[str]] = {}
    for (clip, frame), reason in unreadable.items():
        frames.setdefault((clip, reason), []).append(str(frame))
    shown = [f"{clip} frames {', '.join(numbers)} ({reason})" for (clip, reason), numbers in frames.items()]
    more = f"; and {len(shown) - NUM_SHOWN} clips more" if len(shown) > NUM_SHOWN else ""
    raise StoreError(
        f"{len(unreadable)} frames cannot be read: {'; '.join(shown[:NUM_SHOWN])}{more}. All others are stored: correct"
        f" these files, or take them out of the data list, then {REMEDY}"
    )
