"""What a filling run has to do, how much disk that takes, and whether there is so much."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bundle.store.errors import StoreError
from bundle.store.requests import Found
from bundle.store.store import FeatureTable, TeacherIdentity

FILE_BYTES = 4096
"""A shard's header, and the rest of its last block on the disk."""
ADDRESS_BYTES = 24
"""An entry's address and checksum."""
RESERVE = 0.02
"""Share of the free disk that is left alone."""


@dataclass(frozen=True)
class Plan:
    """Work that is left.

    Attributes:
        num_requests: Views that are needed.
        num_views: Views of these that are not stored yet.
        num_features: Feature maps that are not stored yet, by teacher; at most, since equal frames share one.
        num_bytes: Disk that they take.
    """

    num_requests: int
    num_views: int
    num_features: dict[str, int]
    num_bytes: int

    def __str__(self) -> str:
        features = ", ".join(f"{count} of {name}" for name, count in self.num_features.items())
        size = f"{self.num_bytes / 2**30:.2f} GiB"
        return f"{self.num_requests} views needed; to make: {self.num_views} views, features {features}; {size}"


def make_plan(found: Sequence[Found], tables: Mapping[str, FeatureTable], image_size: int, shard_size: int) -> Plan:
    """Count what is missing, from addresses alone.

    Args:
        found: The requests as the store knows them.
        tables: Features by teacher.
        image_size: Side of the views in pixels.
        shard_size: Entries per shard, each of which carries statistics.
    """
    num_views = sum(entry.content is None for entry in found)
    num_bytes = num_views * view_bytes(image_size) + 2 * FILE_BYTES * -(-num_views // shard_size)
    num_features = {}
    for name, table in tables.items():
        missing = {entry.content for entry in found if entry.content and entry.content not in table.table}
        num_features[name] = len(missing) + num_views
        num_shards = -(-num_features[name] // shard_size)
        num_bytes += num_features[name] * feature_bytes(table.teacher, table.codec.dtype)
        num_bytes += num_shards * (statistics_bytes(table.teacher) + FILE_BYTES)
    return Plan(len(found), num_views, num_features, num_bytes)


def check_disk(folder: Path, num_bytes: int) -> None:
    """Refuse to start what cannot end well.

    Raises:
        StoreError: If the disk has less room than that.
    """
    free = int(shutil.disk_usage(folder).free * (1 - RESERVE))
    if num_bytes > free:
        raise StoreError(
            f"the store {folder} needs {num_bytes / 2**30:.2f} GiB more, its disk has {free / 2**30:.2f} GiB free: free"
            " some space, name another store_dir, lower num_views, or use precision int8"
        )


def view_bytes(image_size: int) -> int:
    """Disk for one view: 8-bit pixels, a bit for each that is valid, the address of its content, and its own."""
    return image_size**2 + -(-(image_size**2) // 8) + 16 + ADDRESS_BYTES


def feature_bytes(teacher: TeacherIdentity, dtype: torch.dtype) -> int:
    """Disk for one teacher's features of one view."""
    return teacher.embed_dim * teacher.grid_size**2 * dtype.itemsize + ADDRESS_BYTES


def statistics_bytes(teacher: TeacherIdentity) -> int:
    """Disk for the statistics of one shard."""
    return 8 * (teacher.embed_dim**2 + teacher.embed_dim)
