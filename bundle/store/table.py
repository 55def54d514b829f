"""A table: a folder of shards, from addresses to entries. Readers share it; every writer adds shards of its own."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from bundle.store.digest import as_addresses
from bundle.store.shard import SUFFIX, Shard, StoreError, shard_name, write_shard
from bundle.transforms.recent import RecentlyUsed

NUM_OPEN = 128
"""Files of a table that a process keeps open; often it may not have more than 1024."""

logger = logging.getLogger(__name__)


class Table:
    """Entries by address; files are opened in each process, so that it can be handed to a loader's workers.

    Args:
        folder: Folder of the shards; made when the first is added.
        mend: Remove shards that cannot be opened, instead of refusing the table.
    """

    def __init__(self, folder: Path, mend: bool = False) -> None:
        self.folder = folder
        self.names: list[str] = []
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._shards: list[Shard] = []
        self._files = RecentlyUsed(NUM_OPEN)
        for path in sorted(folder.glob(f"[!.]*{SUFFIX}")):
            self._open(path, mend)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def keys(self) -> Iterable[bytes]:
        """Addresses of all entries."""
        return self._rows.keys()

    def locate(self, keys: Iterable[bytes | None]) -> np.ndarray:  # (N, 2) int32
        """Shard and row of each address; −1 where there is none, or the address is None."""
        nowhere = (-1, -1)
        places = [nowhere if key is None else self._rows.get(key, nowhere) for key in keys]
        return np.array(places, np.int32).reshape(-1, 2)

    def shard(self, number: int) -> Shard:
        """One of the shards."""
        return self._shards[number]

    def read(self, key: bytes, verify: bool = True) -> dict[str, Tensor]:
        """All columns of an entry, or a :class:`StoreError` if it does not have its checksum."""
        return self.read_at(*self._rows[key], verify)

    def read_at(self, number: int, row: int, verify: bool = True) -> dict[str, Tensor]:
        """All columns of the entry at a place that :meth:`locate` gave."""
        shard = self._shards[number]
        return shard.read(row, verify, self._files.get(int(number), shard.open))

    def add(
        self,
        keys: list[bytes],
        columns: Mapping[str, Tensor],
        extra: Mapping[str, Tensor] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write a shard with new entries; see :func:`bundle.store.shard.write_shard`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / shard_name(keys)
        write_shard(path, keys, columns, extra, metadata)
        self._open(path, mend=False)

    def values(self, column: str) -> dict[bytes, bytes]:
        """A small column of all entries by their address, without a check of their checksums."""
        found: dict[bytes, bytes] = {}
        for number in range(len(self.names)):
            shard = self.shard(number)
            found |= dict(zip(shard.keys, as_addresses(shard.column(column).numpy()), strict=True))
        return {key: found[key] for key in self._rows}

    def has_intact(self, key: bytes, verify: bool = True) -> bool:
        """Whether an entry is there and undamaged, if that is to be verified; a damaged one is removed by ``mend``."""
        if verify and key in self:
            try:
                self.read(key)
            except StoreError as error:
                logger.warning("%s", error)
                self.mend(key)
        return key in self

    def mend_all(self) -> None:
        """Verify all entries and remove the damaged ones; for tables of small entries."""
        for key in list(self._rows):
            self.has_intact(key)

    def mend(self, key: bytes) -> None:
        """Remove every damaged entry of an entry's shard, which is replaced by one with the others."""
        number, _ = self._rows[key]
        self._rows = {key: place for key, place in self._rows.items() if place[0] != number}
        path = self.folder / self.names[number]
        kept: list[bytes] = []
        try:
            shard = Shard(path)
            damaged = set(shard.damaged_rows())
            rows = [row for row in range(len(shard)) if row not in damaged]
            kept = [shard.keys[row] for row in rows]
            if kept:
                columns = {name: shard.column(name)[rows] for name in shard.columns}
                self.add(kept, columns, metadata=shard.metadata)
        except StoreError as error:
            logger.warning("%s", error)
        if shard_name(kept) != path.name:
            path.unlink(missing_ok=True)

    def _open(self, path: Path, mend: bool) -> None:
        try:
            shard = Shard(path)
        except StoreError as error:
            if not mend:
                raise
            logger.warning("%s; it is removed, and its entries are made again", error)
            path.unlink(missing_ok=True)
            return
        self.names.append(path.name)
        self._shards.append(shard)
        self._rows |= {key: (len(self.names) - 1, row) for row, key in enumerate(shard.keys)}
