"""Which views a run needs, and where the store has them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from bundle.keys import IMAGE
from bundle.store.store import FeatureStore
from bundle.store.views import ViewRecipe, file_fingerprint


class Request(NamedTuple):
    """One view of one frame: an entry of ``load_datalist``, and the number of the view."""

    entry: Mapping[str, Any]
    view: int


@dataclass(frozen=True)
class Found:
    """Addresses of a requested view; None where the store does not know it.

    Attributes:
        source: Of the frame on disk.
        frame: Of the frame's content.
        view: Of the view.
        content: Of the view's pixels.
    """

    source: bytes
    frame: bytes | None = None
    view: bytes | None = None
    content: bytes | None = None


def training_views(num_views: int) -> range:
    """Numbers of the views that training sees: 1 to ``num_views``, or without augmentation view 0 alone."""
    if num_views < 0:
        raise ValueError(f"num_views must not be negative, got {num_views}")
    return range(1, num_views + 1) if num_views else range(1)


def make_requests(entries: Sequence[Mapping[str, Any]], views: Sequence[int]) -> list[Request]:
    """All views of all frames, frame by frame."""
    return [Request(entry, view) for entry in entries for view in views]


class Finder:
    """Looks requests up in a store, without decoding a frame.

    Args:
        store: The store.
        recipe: Gives the addresses.
    """

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
