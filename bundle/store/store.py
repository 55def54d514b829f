"""The store: a folder with one table of frames, one of views, and one of features per teacher and precision."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from bundle.losses.fit import weights_sha256
from bundle.store.digest import digest
from bundle.store.errors import REMEDY, StoreError
from bundle.store.precision import PRECISIONS, Codec, Float16, PhiSInt8
from bundle.store.table import UNFINISHED, Table, unfinished_path

FORMAT = "feature-store-1"
CODEC = "codec"
"""Metadata of a shard of features: the identity of the codec that they were encoded with."""


@dataclass(frozen=True)
class TeacherIdentity:
    """What a teacher's features depend on, beside the frames.

    Attributes:
        weights: SHA-256 of its parameters and buffers.
        encoder: Class of the encoder.
        input_size: Side of its input in pixels.
        grid_size: Side of its feature grid.
        embed_dim: Channels of its features.
    """

    weights: str
    encoder: str
    input_size: int
    grid_size: int
    embed_dim: int

    @classmethod
    def of(cls, teacher: nn.Module) -> "TeacherIdentity":
        """Identity of a live teacher."""
        encoder = type(getattr(teacher, "encoder", teacher)).__qualname__
        sizes = [int(getattr(teacher, name)) for name in ("input_size", "grid_size", "embed_dim")]
        return cls(weights_sha256(teacher), encoder, *sizes)

    @property
    def address(self) -> str:
        """Folder name of its features."""
        return digest(FORMAT, json.dumps(asdict(self), sort_keys=True)).hex()


class FeatureTable:
    """One teacher's features in one precision.

    Args:
        folder: ``shards/``, beside what describes the teacher and decodes its features.
        teacher: Whose features they are.
        codec: Encodes and decodes them.
        mend: As for :class:`Table`.

    Raises:
        StoreError: If the folder holds features that were encoded otherwise.
    """

    def __init__(self, folder: Path, teacher: TeacherIdentity, codec: Codec, mend: bool = False) -> None:
        self.teacher, self.codec = teacher, codec
        self.table = Table(folder / "shards", mend)
        for number, name in enumerate(self.table.names):
            found = self.table.shard(number).metadata.get(CODEC, codec.identity)
            if found != codec.identity:
                raise StoreError(
                    f"{self.table.folder / name} is encoded as {found!r}, not {codec.identity!r}: delete {folder}"
                )


class FeatureStore:
    """Opens a store's tables.

    Args:
        folder: The store; an empty or new folder becomes one when it is filled.
        mend: Remove shards that cannot be opened, instead of refusing them.

    Raises:
        StoreError: If the folder holds something else, or another version of a store.
    """

    def __init__(self, folder: str | Path, mend: bool = False) -> None:
        self.folder, self._mend = Path(folder), mend
        self._check_format()
        self.frames = Table(self.folder / "frames", mend)
        self.views = Table(self.folder / "views", mend)

    def mark(self) -> None:
        """Make the folder a store."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with unfinished_path(self.folder / "store.json") as temporary:
            temporary.write_text(json.dumps({"format": FORMAT}) + "\n", encoding="utf-8")

    def feature_folder(self, teacher: TeacherIdentity, precision: str) -> Path:
        """Where a teacher's features of a precision are, or would be."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r}")
        return self.folder / "features" / f"{teacher.address}-{precision}"

    def features(self, name: str, teacher: TeacherIdentity, precision: str) -> FeatureTable:
        """A teacher's features, for reading.

        Raises:
            StoreError: If there are none; the message says whose there are.
        """
        folder = self.feature_folder(teacher, precision)
        if not folder.is_dir():
            asked = f"{name!r} (weights {teacher.weights[:12]}, input {teacher.input_size}²)"
            there = self.describe()
            others = f", only of {there}: {REMEDY}" if there else "; it is empty: run configs/cache_features.json first"
            raise StoreError(f"the store {self.folder} has no {precision} features of teacher {asked}{others}")
        return FeatureTable(folder, teacher, load_codec(folder, precision), self._mend)

    def describe(self) -> str:
        """Whose features the store has, in words."""
        found = []
        for path in sorted((self.folder / "features").glob("*/teacher.json")):
            content = json.loads(path.read_text())
            precision = path.parent.name.rpartition("-")[2]
            names = f"{content['name']!r} (weights {content['weights'][:12]}, input {content['input_size']}²)"
            found.append(f"{names} as {precision}")
        return ", ".join(found)

    def _check_format(self) -> None:
        marker = self.folder / "store.json"
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        if all(path.name.startswith(UNFINISHED) for path in there):  # empty, but for a killed writer's marker
            return
        found = json.loads(marker.read_text()).get("format") if marker.is_file() else None
        if found != FORMAT:
            raise StoreError(f"{self.folder} must be a store of format {FORMAT!r}, got {found!r}: name another folder")


def load_codec(folder: Path, precision: str) -> Codec:
    """What decodes the features in a folder."""
    return Float16() if precision == "float16" else PhiSInt8.load(folder / "quantizer.safetensors")


def identities(teachers: Mapping[str, nn.Module]) -> dict[str, TeacherIdentity]:
    """Identity of each teacher, by name."""
    return {name: TeacherIdentity.of(teacher) for name, teacher in teachers.items()}
