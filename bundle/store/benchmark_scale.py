"""Cost per entry and memory of the store, from a hundred entries to many thousands, with small random features."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from torch.utils.data import DataLoader

from bundle.atomic import write_json
from bundle.keys import CLIP, FRAME, IMAGE
from bundle.store.benchmark_formats import forget
from bundle.store.dataset import StoredViews
from bundle.store.digest import as_array, digest
from bundle.store.precision import Float16
from bundle.store.store import CODEC, FeatureStore, TeacherIdentity
from bundle.store.views import ViewRecipe, file_fingerprint

SIZE = 64
GRIDS = {"medsam2": (256, 4), "rad_dino": (192, 4), "medclip": (384, 2)}
"""Channels and grid of each teacher: 21 kB per entry with its view."""
SHARD = 128
FRAMES_PER_CLIP = 100
BATCH_SIZE = 32


class NamedTeacher(nn.Module):
    """A teacher by name and sizes alone; there is nothing to run.

    Args:
        name: Takes the place of weights.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.embed_dim, self.grid_size = GRIDS[name]
        self.input_size = SIZE
        self.register_buffer("name", torch.frombuffer(bytearray(name.encode()), dtype=torch.uint8))


@dataclass(frozen=True)
class ScaleCost:
    """What a store of one size costs.

    Attributes:
        num_entries: Views in the store.
        bytes_per_entry: On disk.
        write_ms: CPU time per entry, features and view, without the teachers.
        open_ms: CPU time per entry: looking up every frame before the first batch.
        read_ms: CPU time per entry, in batches at random, every checksum verified.
        read_wall_ms: Time that passes per entry, after the files were dropped from the operating system's cache.
        open_mib: Memory that an open store takes.
        peak_mib: Largest memory while it is read, above that of the process before.
    """

    num_entries: int
    bytes_per_entry: float
    write_ms: float
    open_ms: float
    read_ms: float
    read_wall_ms: float
    open_mib: float
    peak_mib: float


def measure_scale(folder: Path, sizes: Sequence[int] = (100, 1000, 10_000, 50_000)) -> list[ScaleCost]:
    """Fill a synthetic store of each size and read all of it once, in a process of its own.

    Args:
        folder: On the disk that is to be measured.
        sizes: Numbers of entries.
    """
    costs = []
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as holder:
            store = Path(holder) / "store"
            frame = Path(holder) / "frame.png"
            frame.write_bytes(b"stands for every clip")
            start = time.process_time()
            write_synthetic(store, synthetic_entries(frame, size))
            write_seconds = time.process_time() - start
            num_bytes = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
            with get_context("spawn").Pool(1) as pool:
                reading = pool.apply(read_all, (store, frame, size))
            costs.append(ScaleCost(size, num_bytes / size, 1000 * write_seconds / size, **reading))
            shutil.rmtree(store)
    return costs


def synthetic_entries(frame: Path, num_entries: int) -> list[dict[str, Any]]:
    """A data list's entries; every clip is the same file."""
    return [
        {IMAGE: frame, CLIP: f"clip{index // FRAMES_PER_CLIP}", FRAME: index % FRAMES_PER_CLIP}
        for index in range(num_entries)
    ]


def write_synthetic(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """A store of view 0 of these entries, with random pixels and features."""
    store = FeatureStore(folder)
    store.mark()
    recipe = ViewRecipe([])
    fingerprint = file_fingerprint(entries[0][IMAGE])
    generator = torch.Generator().manual_seed(0)
    tables = {}
    for name in GRIDS:
        identity = TeacherIdentity.of(NamedTeacher(name))
        target = store.feature_folder(identity, "float16")
        target.mkdir(parents=True)
        write_json(target / "teacher.json", {"name": name, **asdict(identity)})
        tables[name] = store.features(name, identity, "float16").table
    for start in range(0, len(entries), SHARD):
        sources = [recipe.source_key(entry, fingerprint) for entry in entries[start : start + SHARD]]
        frames = [digest("frame", source) for source in sources]
        contents = [digest("content", source) for source in sources]
        store.frames.add(sources, {"frame": _column(frames)})
        image = torch.randint(0, 256, (len(sources), 1, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        valid = torch.full((len(sources), SIZE * SIZE // 8), 255, dtype=torch.uint8)
        columns = {"image": image, "valid": valid, "content": _column(contents)}
        store.views.add([recipe.view_key(frame, 0) for frame in frames], columns)
        for name, (channels, grid) in GRIDS.items():
            features = torch.randn(len(sources), channels, grid, grid, generator=generator).half()
            tables[name].add(contents, {"features": features}, metadata={CODEC: Float16.identity})


def read_all(folder: Path, frame: Path, num_entries: int) -> dict[str, float]:
    """Open a synthetic store and read every entry once, in a random order."""
    torch.set_num_threads(1)
    entries = synthetic_entries(frame, num_entries)
    teachers = {name: NamedTeacher(name) for name in GRIDS}
    before = memory_mib()
    start = time.process_time()
    views = StoredViews(folder, ViewRecipe([]), entries, teachers, num_views=0)
    open_seconds = time.process_time() - start
    open_mib = memory_mib() - before
    forget(folder)
    wall, start, peak_mib = time.perf_counter(), time.process_time(), 0.0
    for _ in DataLoader(views, batch_size=BATCH_SIZE, shuffle=True):
        peak_mib = max(peak_mib, memory_mib() - before)
    return {
        "open_ms": 1000 * open_seconds / num_entries,
        "read_ms": 1000 * (time.process_time() - start) / num_entries,
        "read_wall_ms": 1000 * (time.perf_counter() - wall) / num_entries,
        "open_mib": open_mib,
        "peak_mib": peak_mib,
    }


def memory_mib() -> float:
    """Memory of this process now."""
    return psutil.Process().memory_info().rss / 2**20


def _column(addresses: list[bytes]) -> torch.Tensor:
    return torch.from_numpy(as_array(addresses).copy())
