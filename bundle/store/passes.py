"""What is done with one block of views: those that are missing are made, and then each teacher's missing features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bundle.data.clip import UnreadableStudyError
from bundle.keys import CLIP, FRAME, IMAGE
from bundle.losses.statistics import FeatureStatistics
from bundle.store.digest import as_array
from bundle.store.shard import StoreError
from bundle.store.store import CODEC, FeatureStore, FeatureTable, Finder, Request
from bundle.store.table import Table
from bundle.store.views import View, as_float, pack_valid, read_view


@dataclass(frozen=True)
class FillOptions:
    """How a store is filled."""

    image_size: int  # side of the views in pixels
    precision: str = "float16"  # or "int8"
    batch_size: int = 8  # views per forward pass
    shard_mib: float = 256.0  # size of a shard of the largest features; several are held in memory
    device: torch.device | str = "cpu"  # where the teachers run
    verify: bool = True  # check stored entries that are needed against their checksums, and make damaged ones again


class BlockViews:
    """The views of a block by the address of their pixels: those just made, and the others from the store.

    Args:
        contents: Addresses in the order of the requests, which does not depend on what was stored before.
        made: Views made in this run.
        stored: Address of each stored view by that of its pixels.
        table: Of the views.
    """

    def __init__(
        self, contents: Sequence[bytes], made: Mapping[bytes, View], stored: Mapping[bytes, bytes], table: Table
    ) -> None:
        self.contents = list(dict.fromkeys(contents))
        self._views, self._stored, self._table = dict(made), stored, table

    def __getitem__(self, content: bytes) -> View:
        if content not in self._views:
            self._views[content] = read_view(self._table.read(self._stored[content]))
        return self._views[content]


class ViewPass:
    """Makes the views of a block that the store lacks."""

    def __init__(self, store: FeatureStore, finder: Finder, options: FillOptions) -> None:
        self.store, self.finder, self.options = store, finder, options
        self.unreadable: dict[tuple[str, int], str] = {}
        self._bad_files: dict[str, str] = {}

    def run(self, block: Sequence[Request]) -> BlockViews:
        """Complete a block; what cannot be read is left out, and noted in ``unreadable`` by clip and frame."""
        contents: dict[int, bytes] = {}
        stored: dict[bytes, bytes] = {}
        for position, found in enumerate(self.finder.find(block)):
            if found.view and found.content and self.store.views.has_intact(found.view, self.options.verify):
                contents[position] = found.content
                stored[found.content] = found.view
        missing = [position for position in range(len(block)) if position not in contents]
        made = dict(zip(missing, self._make([block[position] for position in missing]), strict=True))
        contents |= {position: view.content for position, view in made.items() if view}
        views = {view.content: view for view in made.values() if view}
        return BlockViews([contents[position] for position in sorted(contents)], views, stored, self.store.views)

    def _make(self, requests: Sequence[Request]) -> list[View | None]:
        frames: dict[bytes, bytes] = {}
        views: dict[bytes, View] = {}
        made: list[View | None] = []
        entry, frame, content = None, None, b""
        for request in requests:
            if request.entry is not entry:
                entry = request.entry
                frame, content = self._load(request.entry)
            if frame is None:
                made.append(None)
                continue
            frames[self.finder.source(request.entry)] = content
            view = self.finder.recipe.render(frame, content, request.view)
            views[self.finder.recipe.view_key(content, request.view)] = view
            made.append(view)
        self._write(frames, views)
        return made

    def _load(self, entry: Mapping[str, Any]) -> tuple[dict[str, Tensor] | None, bytes]:
        path = str(entry[IMAGE])
        try:
            if path in self._bad_files:  # each try may take the decoder's whole time limit
                raise ValueError(self._bad_files[path])
            frame, content = self.finder.recipe.frame(entry)
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            self.unreadable[entry[CLIP], entry[FRAME]] = reason
            if isinstance(error, UnreadableStudyError):
                self._bad_files[path] = reason
            return None, b""
        size = (1, self.options.image_size, self.options.image_size)
        if tuple(frame[IMAGE].shape) != size:
            raise ValueError(f"views must be {size}, the deterministic transforms give {tuple(frame[IMAGE].shape)}")
        return frame, content

    def _write(self, frames: dict[bytes, bytes], views: dict[bytes, View]) -> None:
        frames = {source: content for source, content in frames.items() if source not in self.store.frames}
        if frames:
            self.store.frames.add(list(frames), {"frame": torch.from_numpy(as_array(list(frames.values())).copy())})
        if views:
            made = list(views.values())
            columns = {
                "image": torch.stack([view.image for view in made]),
                "valid": torch.stack([pack_valid(view.valid) for view in made]),
                "content": torch.from_numpy(as_array([view.content for view in made]).copy()),
            }
            self.store.views.add(list(views), columns)


class FeaturePass:
    """Runs one live teacher, on the device of ``options``, on the views of a block that it has not seen."""

    def __init__(self, name: str, teacher: nn.Module, features: FeatureTable, options: FillOptions) -> None:
        self.name, self.teacher, self.features, self.options = name, teacher, features, options

    @torch.no_grad()
    def run(self, views: BlockViews) -> None:
        """Complete a block; its shard carries the statistics of the features before they were encoded."""
        table, codec, batch_size = self.features.table, self.features.codec, self.options.batch_size
        missing = [content for content in views.contents if not table.has_intact(content, self.options.verify)]
        if not missing:
            return
        statistics = FeatureStatistics(self.features.teacher.embed_dim, self.features.teacher.address)
        stored = []
        for start in range(0, len(missing), batch_size):
            batch = [views[content] for content in missing[start : start + batch_size]]
            frames = as_float(torch.stack([view.image for view in batch]).to(self.options.device))
            valid = torch.stack([view.valid for view in batch]).to(self.options.device)
            features = self.teacher(frames)
            try:
                stored.append(codec.encode(features).cpu())
                statistics.update(features, self.teacher.valid_grid(valid))  # type: ignore[operator]
            except ValueError as error:
                raise StoreError(f"teacher {self.name!r}: {error}") from error
        numbers = {name: str(value) for name, value in statistics.numbers().items()}
        table.add(missing, {"features": torch.cat(stored)}, statistics.moments(), {**numbers, CODEC: codec.identity})
