"""A shard: one immutable safetensors file with some entries of a table, and a checksum for each of them.

Tensors of a shard: ``keys (n, 16)``, ``crc32 (n,)``, one tensor ``(n, …)`` per column, and ``extra/…`` for what belongs
to the shard as a whole. A CRC covers the key and all columns of its entry.
"""

import json
import os
import weakref
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bundle.store.digest import as_addresses, as_array, digest
from bundle.store.unfinished import unfinished_path

REMEDY = "run configs/cache_features.json again"
FORMAT = "feature-store-shard-1"
SUFFIX = ".safetensors"
KEYS, CRC, EXTRA = "keys", "crc32", "extra/"
DTYPES = {"U8": torch.uint8, "I8": torch.int8, "F16": torch.float16, "F32": torch.float32}
"""Types of columns, by safetensors' names."""


class StoreError(ValueError):
    """The store on disk is not what a run needs; the message says what, where, and what to do."""


class Column(NamedTuple):
    """Where a column of a shard is: ``row_bytes`` per entry from ``offset`` on."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    row_bytes: int


class OpenFile:
    """A file opened for reading by position, which forked processes may share; closed when nothing refers to it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)


class Shard:
    """A complete shard's layout, addresses and checksums; entries are read one by one, and do not stay in memory.

    Rows are read and not mapped: a failing disk is then an error and no dead process, and memory stays flat.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="pt") as file:  # checks the header and the length
                self.metadata: dict[str, str] = file.metadata() or {}
                if self.metadata.get("format") != FORMAT:
                    raise StoreError(f"{path} must be of format {FORMAT!r}, got {self.metadata.get('format')!r}")
                self._keys = file.get_tensor(KEYS).numpy().copy()
                self._crc = file.get_tensor(CRC).numpy().copy()
            self._columns = _columns(OpenFile(path))
        except (SafetensorError, OSError) as error:
            raise StoreError(f"{path} is no complete shard ({error}): {REMEDY}") from error

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> list[bytes]:
        """Addresses of the entries."""
        return as_addresses(self._keys)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    def column(self, name: str) -> Tensor:
        """One column ``(n, …)`` of all entries, without a check of their checksums."""
        column = self._columns[name]
        return self._read(self.open(), column, column.offset, len(self) * column.row_bytes, (len(self), *column.shape))

    def extra(self) -> dict[str, Tensor]:
        """What belongs to the shard as a whole; a shard that was mended has none."""
        with safe_open(self.path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(EXTRA)]  # noqa: SIM118 - not a dictionary
            return {name.removeprefix(EXTRA): file.get_tensor(name).clone() for name in names}

    def open(self) -> OpenFile:
        """The file, to hand to :meth:`read` more than once."""
        try:
            return OpenFile(self.path)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read ({error}): {REMEDY}") from error

    def read(self, row: int, verify: bool = True, file: OpenFile | None = None) -> dict[str, Tensor]:
        """All columns of an entry with the right checksum, from the file opened before or for this entry alone."""
        file = file or self.open()
        entry = {
            name: self._read(file, column, column.offset + row * column.row_bytes, column.row_bytes, column.shape)
            for name, column in self._columns.items()
        }
        key = self._keys[row].tobytes()
        if verify and _crc(key, entry) != self._crc[row]:
            raise StoreError(f"{self.path}: entry {row} ({key.hex()}) is damaged: {REMEDY}")
        return entry

    def damaged_rows(self) -> list[int]:
        """Entries that do not have their checksum."""
        damaged, file = [], self.open()
        for row in range(len(self)):
            try:
                self.read(row, file=file)
            except StoreError:
                damaged.append(row)
        return damaged

    def _read(self, file: OpenFile, column: Column, offset: int, num_bytes: int, shape: tuple[int, ...]) -> Tensor:
        content, done = torch.empty(num_bytes, dtype=torch.uint8), 0
        buffer = memoryview(content.numpy().data)
        while done < num_bytes:
            try:
                count = os.preadv(file.descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise StoreError(f"{self.path} cannot be read ({error}): {REMEDY}") from error
            if not count:
                raise StoreError(f"{self.path} has become shorter while it was read: {REMEDY}")
            done += count
        return content.view(column.dtype).reshape(shape)


def _columns(file: OpenFile) -> dict[str, Column]:
    """Layout of a shard's columns, from the header that every safetensors file begins with."""
    header_bytes = int.from_bytes(os.pread(file.descriptor, 8, 0), "little")
    header = json.loads(os.pread(file.descriptor, header_bytes, 8))
    columns = {}
    for name, entry in sorted(header.items()):
        if name in (KEYS, CRC, "__metadata__") or name.startswith(EXTRA):
            continue
        start, end = entry["data_offsets"]
        rows, *shape = entry["shape"]
        columns[name] = Column(8 + header_bytes + start, tuple(shape), DTYPES[entry["dtype"]], (end - start) // rows)
    return columns


def shard_name(keys: list[bytes]) -> str:
    """File name of a shard with these entries: two writers of the same entries write the same file."""
    return digest(*keys).hex() + SUFFIX


def write_shard(
    path: Path,
    keys: list[bytes],
    columns: Mapping[str, Tensor],
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a shard completely or not at all, also if the machine stops.

    Args:
        path: The final file, in a folder that is there.
        keys: Addresses of the entries.
        columns: Their values ``(n, …)``.
        extra: Tensors of the shard as a whole.
        metadata: Text of the shard as a whole.

    Raises:
        StoreError: If the file cannot be written; nothing is left behind.
    """
    columns = {name: column.contiguous() for name, column in sorted(columns.items())}
    rows = [{name: column[row] for name, column in columns.items()} for row in range(len(keys))]
    crc = torch.tensor([_crc(key, row) for key, row in zip(keys, rows, strict=True)], dtype=torch.int64)
    tensors = {KEYS: torch.from_numpy(as_array(keys).copy()), CRC: crc, **columns}
    tensors |= {EXTRA + name: tensor.contiguous() for name, tensor in (extra or {}).items()}
    try:
        with unfinished_path(path) as temporary:
            save_file(tensors, temporary, metadata={**(metadata or {}), "format": FORMAT})
    except (SafetensorError, OSError) as error:
        raise StoreError(
            f"cannot write {path} ({error}); what was stored before is kept: free some space, then {REMEDY}"
        ) from error


def _crc(key: bytes, entry: Mapping[str, Tensor]) -> int:
    value = zlib.crc32(key)
    for _, tensor in sorted(entry.items()):
        value = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, value)
    return value
