"""The store: a folder with one table of frames, one of views, and one of features per teacher and precision."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from bundle.keys import IMAGE
from bundle.store.digest import digest
from bundle.store.precision import PRECISIONS, Codec, Float16, PhiSInt8
from bundle.store.shard import REMEDY, StoreError
from bundle.store.table import Table
from bundle.store.unfinished import UNFINISHED, unfinished_path
from bundle.store.views import ViewRecipe, file_fingerprint
from bundle.weights import weights_sha256

FORMAT = "feature-store-1"
CODEC = "codec"
"""Metadata of a shard of features: the identity of the codec that they were encoded with."""


@dataclass(frozen=True)
class TeacherIdentity:
    """What a teacher's features depend on, beside the frames: hash of its weights, class of its encoder, sizes."""

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
        codec: Encodes and decodes them; a folder of features that were encoded otherwise is refused.
        mend: As for :class:`Table`.
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
        folder: The store; an empty or new folder becomes one when it is filled, one with something else is refused.
        mend: Remove shards that cannot be opened, instead of refusing them.
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
        """A teacher's features, for reading; where there are none, the error says whose there are."""
        folder = self.feature_folder(teacher, precision)
        if not folder.is_dir():
            asked = f"{name!r} (weights {teacher.weights[:12]}, input {teacher.input_size}²)"
            there = self._describe()
            others = f", only of {there}: {REMEDY}" if there else "; it is empty: run configs/cache_features.json first"
            raise StoreError(f"the store {self.folder} has no {precision} features of teacher {asked}{others}")
        codec = Float16() if precision == "float16" else PhiSInt8.load(folder / "quantizer.safetensors")
        return FeatureTable(folder, teacher, codec, self._mend)

    def _describe(self) -> str:
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


class Request(NamedTuple):
    """One view of one frame: an entry of ``load_datalist``, and the number of the view."""

    entry: Mapping[str, Any]
    view: int


class Found(NamedTuple):
    """Addresses of a requested view's file, and of frame, view and pixels; None where the store does not know it."""

    source: bytes
    frame: bytes | None = None
    view: bytes | None = None
    content: bytes | None = None


class Finder:
    """Looks requests up in a store, without decoding a frame."""

    def __init__(self, store: FeatureStore, recipe: ViewRecipe) -> None:
        self.recipe = recipe
        self.frames = store.frames.values("frame")
        self.contents = store.views.values("content")
        self._fingerprint = lru_cache(maxsize=4)(file_fingerprint)

    def source(self, entry: Mapping[str, Any]) -> bytes:
        """Address of a frame on disk."""
        return self.recipe.source_key(entry, self._fingerprint(Path(entry[IMAGE])))

    def find(self, requests: Sequence[Request]) -> Iterator[Found]:
        """Addresses of each request, as far as the store knows them."""
        previous, source, frame = None, b"", None
        for entry, number in requests:
            if entry is not previous:  # views of a frame follow each other
                previous, source = entry, self.source(entry)
                frame = self.frames.get(source)
            if frame is None:
                yield Found(source)
            else:
                view = self.recipe.view_key(frame, number)
                yield Found(source, frame, view, self.contents.get(view))


def training_views(num_views: int) -> range:
    """Numbers of the views that training sees: 1 to ``num_views``, or without augmentation view 0 alone."""
    if num_views < 0:
        raise ValueError(f"num_views must not be negative, got {num_views}")
    return range(1, num_views + 1) if num_views else range(1)


def make_requests(entries: Sequence[Mapping[str, Any]], views: Sequence[int]) -> list[Request]:
    """All views of all frames, frame by frame."""
    return [Request(entry, view) for entry in entries for view in views]


def identities(teachers: Mapping[str, nn.Module]) -> dict[str, TeacherIdentity]:
    """Identity of each teacher, by name."""
    return {name: TeacherIdentity.of(teacher) for name, teacher in teachers.items()}
