"""Storage libraries side by side: entries of full-size teachers, read in order and at random, against the bare disk.

From the disk the time that passes counts; from the operating system's cache CPU time, which is steadier.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import torch

from bundle.extras import needs_extra
from bundle.store.digest import digest
from bundle.store.table import Table

COLUMNS = {"view": (294_912,), "medsam2": (256, 32, 32), "rad_dino": (768, 37, 37), "medclip": (768, 7, 7)}
"""A view of 512² pixels with its valid region, and the full-size teachers' grids; features as float16."""
SHARD = 32
"""Entries per shard."""
COMPARISON = "comparing storage libraries"


class Format(Protocol):
    """One way to store entries of several arrays each."""

    name: str

    def write(self, folder: Path, entries: Sequence[dict[str, np.ndarray]]) -> None: ...

    def reader(self, folder: Path) -> Callable[[int], list[Any]]: ...


class Shards:
    """The store's own tables.

    Args:
        verify: Check every entry against its checksum.
    """

    def __init__(self, verify: bool) -> None:
        self.verify = verify
        self.name = f"safetensors shards{', verified' if verify else ''}"

    def write(self, folder: Path, entries: Sequence[dict[str, np.ndarray]]) -> None:
        tables = {name: Table(folder / name) for name in COLUMNS}
        for start in range(0, len(entries), SHARD):
            rows = range(start, min(start + SHARD, len(entries)))
            for name, table in tables.items():
                values = torch.from_numpy(np.stack([entries[row][name] for row in rows]))
                table.add([digest(row) for row in rows], {"value": values})

    def reader(self, folder: Path) -> Callable[[int], list[Any]]:
        tables = [Table(folder / name) for name in COLUMNS]
        return lambda index: [table.read(digest(index), self.verify)["value"] for table in tables]


class Lmdb:
    """One LMDB file, a key per array."""

    name = "LMDB"

    def __init__(self) -> None:
        with needs_extra("laboratory", COMPARISON):
            self.lmdb: Any = import_module("lmdb")

    def write(self, folder: Path, entries: Sequence[dict[str, np.ndarray]]) -> None:
        size = sum(array.nbytes for array in entries[0].values()) * len(entries)
        with self.lmdb.open(str(folder), map_size=int(1.5 * size) + 2**24) as environment:
            for start in range(0, len(entries), SHARD):
                with environment.begin(write=True) as transaction:
                    for row in range(start, min(start + SHARD, len(entries))):
                        for name, array in entries[row].items():
                            transaction.put(f"{row}/{name}".encode(), array.tobytes())

    def reader(self, folder: Path) -> Callable[[int], list[Any]]:
        environment = self.lmdb.open(str(folder), readonly=True, lock=False)

        def read(index: int) -> list[Any]:
            with environment.begin(buffers=True) as transaction:
                values = [transaction.get(f"{index}/{name}".encode()) for name in COLUMNS]
                return [np.frombuffer(value, np.uint8).copy() for value in values]

        return read


class Zarr:
    """Zarr 3 arrays, one entry per chunk, in shards, without compression."""

    name = "zarr 3, sharded"

    def __init__(self) -> None:
        with needs_extra("laboratory", COMPARISON):
            self.zarr: Any = import_module("zarr")

    def write(self, folder: Path, entries: Sequence[dict[str, np.ndarray]]) -> None:
        group = self.zarr.create_group(str(folder), overwrite=True)
        for name, example in entries[0].items():
            shape, row = (len(entries), *example.shape), example.shape
            options = {"chunks": (1, *row), "shards": (SHARD, *row), "compressors": None, "dtype": example.dtype}
            array = group.create_array(name, shape=shape, **options)
            for start in range(0, len(entries), SHARD):
                array[start : start + SHARD] = np.stack([entry[name] for entry in entries[start : start + SHARD]])

    def reader(self, folder: Path) -> Callable[[int], list[Any]]:
        group = self.zarr.open_group(str(folder), mode="r")
        arrays = [group[name] for name in COLUMNS]
        return lambda index: [array[index] for array in arrays]


class Bare:
    """One file of all bytes, read by position into new memory: what the disk itself gives."""

    name = "bare file"

    def write(self, folder: Path, entries: Sequence[dict[str, np.ndarray]]) -> None:
        with (folder / "all.bin").open("wb") as file:
            for entry in entries:
                for array in entry.values():
                    file.write(array.tobytes())
            os.fsync(file.fileno())

    def reader(self, folder: Path) -> Callable[[int], list[Any]]:
        file = os.open(folder / "all.bin", os.O_RDONLY)  # until the process ends
        size = sum(array.nbytes for array in _entry(0).values())

        def read(index: int) -> list[Any]:
            content = np.empty(size, np.uint8)
            os.preadv(file, [content.data], index * size)
            return [content]

        return read


@dataclass(frozen=True)
class FormatSpeed:
    """Entries per second of one format, medians over the repeats.

    Attributes:
        name: Of the format.
        written: Written, and on the disk.
        in_order: Read in order, nothing in memory before.
        at_random: Read in random order, nothing in memory before.
        in_order_cached: Per CPU second, read in order from the operating system's cache.
        at_random_cached: Per CPU second, read in random order from the cache.
    """

    name: str
    written: float
    in_order: float
    at_random: float
    in_order_cached: float
    at_random_cached: float


def measure_formats(folder: Path, num_entries: int = 256, repeats: int = 3) -> list[FormatSpeed]:
    """Write the same entries in every format, and read them; the formats take turns.

    Args:
        folder: On the disk that is to be measured.
        num_entries: Entries of 3 MB each.
        repeats: Passes of each kind.
    """
    entries = [_entry(index) for index in range(num_entries)]
    formats: list[Format] = [Bare(), Shards(verify=False), Shards(verify=True), Lmdb(), Zarr()]
    order = random.Random(0).sample(range(num_entries), num_entries)
    with tempfile.TemporaryDirectory(dir=folder) as holder:
        written = {form.name: _write(form, Path(holder) / str(number), entries) for number, form in enumerate(formats)}
        del entries
        passes: dict[str, list[list[float]]] = {form.name: [] for form in formats}
        for _ in range(repeats):
            for number, form in enumerate(formats):
                place = Path(holder) / str(number)
                passes[form.name].append(list(_read_passes(form, place, list(range(num_entries)), order)))
    medians = {name: [median(values) for values in zip(*rows, strict=True)] for name, rows in passes.items()}
    return [FormatSpeed(form.name, written[form.name], *medians[form.name]) for form in formats]


def _entry(index: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(index)
    view = rng.integers(0, 256, COLUMNS["view"], np.uint8)
    features = {name: shape for name, shape in COLUMNS.items() if name != "view"}
    return {"view": view} | {
        name: rng.standard_normal(shape, np.float32).astype(np.float16) for name, shape in features.items()
    }


def _write(form: Format, folder: Path, entries: Sequence[dict[str, np.ndarray]]) -> float:
    folder.mkdir()
    start = time.perf_counter()
    form.write(folder, entries)
    os.sync()
    return len(entries) / (time.perf_counter() - start)


def _read_passes(form: Format, folder: Path, in_order: Sequence[int], at_random: Sequence[int]) -> Iterator[float]:
    for order, is_cached in ((in_order, False), (at_random, False), (in_order, True), (at_random, True)):
        if not is_cached:
            forget(folder)
        clock = time.process_time if is_cached else time.perf_counter
        read = form.reader(folder)
        start = clock()
        for index in order:
            read(index)
        seconds = clock() - start
        del read  # LMDB opens a file once per process
        yield len(order) / seconds


def forget(folder: Path) -> None:
    """Drop a folder's files from the operating system's cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
