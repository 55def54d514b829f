"""The stage that fills the store: views of all frames, every teacher's features of them, and their statistics."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from bundle.store.errors import REMEDY, StoreError
from bundle.store.passes import BlockViews, FeaturePass, ViewPass
from bundle.store.plan import check_disk, feature_bytes, make_plan
from bundle.store.precision import Codec, Float16
from bundle.store.quantizer import fit_quantizer
from bundle.store.requests import Finder, Request, make_requests, training_views
from bundle.store.store import FeatureStore, FeatureTable, TeacherIdentity, identities
from bundle.store.table import remove_unfinished, unfinished_path
from bundle.store.views import ViewRecipe

LARGEST_BLOCK = 128
"""Views per block however small the features are: what a killed run has to do again."""
NUM_SHOWN = 10
"""Clips with unreadable frames that an error names."""
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
        image_size: Side of the views in pixels.
        num_views: Augmented views per training frame; with 0 training sees view 0.
        precision: "float16" or "int8".
        batch_size: Views per forward pass.
        shard_mib: Size of a shard of the largest features, in MiB; several are held in memory.
        device: Where the teachers run.
        verify: Check every stored entry that is needed against its checksum, and make damaged ones again.
        rank: This process among ``num_ranks``, each of which does its share.
        num_ranks: Number of processes that fill the store together.
    """

    def __init__(
        self,
        folder: str | Path,
        recipe: ViewRecipe,
        training: Sequence[Mapping[str, Any]],
        validation: Sequence[Mapping[str, Any]],
        teachers: Mapping[str, nn.Module],
        image_size: int,
        num_views: int = 4,
        precision: str = "float16",
        batch_size: int = 8,
        shard_mib: float = 256.0,
        device: torch.device | str = "cpu",
        verify: bool = True,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank must be in [0, {num_ranks}), got {rank}")
        self.folder, self.recipe, self.teachers = Path(folder), recipe, dict(teachers)
        self.training = make_requests(training, training_views(num_views))
        self.requests = self.training + make_requests(validation, [0])
        self.image_size, self.precision = image_size, precision
        self.batch_size, self.shard_mib, self.device = batch_size, shard_mib, torch.device(device)
        self.verify, self.rank, self.num_ranks = verify, rank, num_ranks

    def run(self) -> None:
        """Fill the store.

        Raises:
            StoreError: If the disk is too small or full, or, after everything else is done, if frames cannot be read.
        """
        store = FeatureStore(self.folder, mend=True)
        store.mark()
        remove_unfinished(self.folder)
        if self.verify:
            store.frames.mend_all()
        teachers = identities(self.teachers)
        tables = {name: self._open(store, name, identity) for name, identity in teachers.items()}
        finder = Finder(store, self.recipe)
        blocks = self._blocks(tables)
        share = [request for block in blocks for request in block]
        plan = make_plan(list(finder.find(share)), tables, self.image_size, self._block_size(tables))
        tqdm.write(f"store {self.folder}: {plan}")
        check_disk(self.folder, plan.num_bytes)
        view_pass = ViewPass(store.views, store.frames, finder, self.image_size, self.verify)
        feature_passes = [
            FeaturePass(name, self.teachers[name], table, self.batch_size, self.device, self.verify)
            for name, table in tables.items()
        ]
        with tqdm(total=len(share), desc="store", unit="view", disable=self.rank > 0) as progress:
            for block, views in zip(blocks, _one_ahead(view_pass.run, blocks), strict=True):
                for feature_pass in feature_passes:
                    feature_pass.run(views)
                progress.update(len(block))
        _report(view_pass.unreadable)

    def _open(self, store: FeatureStore, name: str, teacher: TeacherIdentity) -> FeatureTable:
        folder = store.feature_folder(teacher, self.precision)
        folder.mkdir(parents=True, exist_ok=True)
        self.teachers[name].to(self.device)
        codec: Codec = Float16()
        if self.precision == "int8":
            arguments = (self.training, self.recipe, self.batch_size, self.device)
            codec = fit_quantizer(folder, self.teachers[name], teacher, *arguments)
        with unfinished_path(folder / "teacher.json") as temporary:
            temporary.write_text(json.dumps({"name": name, **vars(teacher)}, indent=2) + "\n", encoding="utf-8")
        return FeatureTable(folder, teacher, codec, mend=True)

    def _block_size(self, tables: Mapping[str, FeatureTable]) -> int:
        largest = max(feature_bytes(table.teacher, table.codec.dtype) for table in tables.values())
        size = min(self.shard_mib * 2**20 / largest, LARGEST_BLOCK)
        return self.batch_size * max(1, int(size / self.batch_size))

    def _blocks(self, tables: Mapping[str, FeatureTable]) -> list[list[Request]]:
        """This rank's blocks; training and validation never share one, so that a shard's statistics are of one."""
        size = self._block_size(tables)
        validation = self.requests[len(self.training) :]
        blocks = [
            part[start : start + size] for part in (self.training, validation) for start in range(0, len(part), size)
        ]
        mine = np.array_split(np.arange(len(blocks)), self.num_ranks)[self.rank]
        return [blocks[index] for index in mine]


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
