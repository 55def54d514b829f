"""Views and features for a data loader, straight from the store: nothing is decoded and no teacher runs."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Transform
from torch import nn
from torch.utils.data import Dataset

from bundle.keys import CLIP, FRAME, IMAGE, VALID
from bundle.store.digest import as_array
from bundle.store.precision import Codec
from bundle.store.shard import REMEDY, StoreError
from bundle.store.store import FeatureStore, FeatureTable, Finder, identities, make_requests, training_views
from bundle.store.views import ViewRecipe, as_float, read_view, seed_of
from bundle.transforms.affine import AffineDraw, RandAffineFramed, affine_matrix

FEATURES = "features"
"""A batch's stored features, by teacher, as the store keeps them."""

MOVED = "moved"
"""How a batch's frames were moved after the teachers saw them: matrices ``(B, 2, 3)`` of ``affine_matrix``."""


class StoredViews(Dataset):
    """One item per frame; the epoch picks which of its views.

    An item holds ``image (1, S, S)`` uint8 (float32 with ``student_transforms``), ``valid (1, S, S)`` uint8,
    ``features`` by teacher ``(C, h, w)`` as stored, ``clip`` and ``frame``. An index that knows its epoch (as
    ``EpochSampler`` draws it) gets the frame's views in turn, each frame from another one on; a plain index gets one
    drawn at random. Opened files are kept per process, so that workers may be forked or spawned.

    Args:
        folder: The store.
        recipe: As it was filled with.
        entries: Entries of ``load_datalist``.
        teachers: The teachers by name; only their weights' hash and sizes are used.
        num_views: Augmented views per frame; with 0, view 0.
        precision: "float16" or "int8".
        student_transforms: Random transforms of ``image`` alone, drawn anew in each epoch: the teachers saw it without.
        move: Random movement of ``image`` and ``valid``, drawn anew in each epoch; ``PrepareStoredBatch`` moves the
            features with them. So one stored view serves as many, for teachers that are slow.
    """

    def __init__(
        self,
        folder: str | Path,
        recipe: ViewRecipe,
        entries: Sequence[Mapping[str, Any]],
        teachers: Mapping[str, nn.Module],
        num_views: int = 4,
        precision: str = "float16",
        student_transforms: Sequence[Transform] = (),
        move: RandAffineFramed | None = None,
    ) -> None:
        self.store = FeatureStore(folder)
        self.student = Compose(list(student_transforms)) if student_transforms else None
        self.move = move
        self.names = np.array([str(entry[CLIP]) for entry in entries])
        self.frames = np.array([int(entry[FRAME]) for entry in entries])
        self.num_views = len(training_views(num_views))
        self.features: dict[str, FeatureTable] = {
            name: self.store.features(name, teacher, precision) for name, teacher in identities(teachers).items()
        }
        found = list(Finder(self.store, recipe).find(make_requests(entries, training_views(num_views))))
        self.contents = as_array([entry.content or bytes(16) for entry in found])
        self.view_rows = self.store.views.locate(entry.view for entry in found)
        self.feature_rows = {
            name: features.table.locate(entry.content for entry in found) for name, features in self.features.items()
        }
        self._check_complete()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def decoders(self) -> dict[str, Codec]:
        """What turns each teacher's stored features into float32."""
        return {name: features.codec for name, features in self.features.items()}

    def __getitem__(self, index: int) -> dict[Hashable, Any]:
        frame = int(index)
        epoch = getattr(index, "epoch", None)
        if epoch is None:
            epoch = int(torch.randint(2**31, ()))
        row = frame * self.num_views + (frame + epoch) % self.num_views
        shard, place = self.view_rows[row]
        view = read_view(self.store.views.read_at(shard, place))
        image = view.image
        if self.student is not None:
            self.student.set_random_state(seed=seed_of(self.contents[row].tobytes(), epoch))
            image = torch.as_tensor(self.student({IMAGE: as_float(image)})[IMAGE]).as_subclass(torch.Tensor)
        features = {}
        for name, rows in self.feature_rows.items():
            shard, place = rows[row]
            features[name] = self.features[name].table.read_at(shard, place)["features"]
        item: dict[Hashable, Any] = {
            IMAGE: image,
            VALID: view.valid,
            FEATURES: features,
            CLIP: str(self.names[frame]),
            FRAME: int(self.frames[frame]),
        }
        if self.move is None:
            return item
        self.move.set_random_state(seed=seed_of(self.contents[row].tobytes(), epoch, "move"))
        drawn = self.move.draw() or AffineDraw(degrees=0.0, scale=1.0, shift=(0.0, 0.0))
        return {**self.move.apply(item, drawn), MOVED: affine_matrix(drawn)}

    def _check_complete(self) -> None:
        places = [self.view_rows, *self.feature_rows.values()]
        missing = np.flatnonzero(np.any([place[:, 0] < 0 for place in places], axis=0))
        if len(missing):
            frames = list(dict.fromkeys(missing // self.num_views))
            shown = ", ".join(f"{self.names[frame]}:{self.frames[frame]}" for frame in frames[:3])
            raise StoreError(
                f"{len(missing)} of {len(self.view_rows)} views of {len(frames)} frames are not in the store"
                f" {self.store.folder} (clip:frame {shown}{', …' if len(frames) > 3 else ''}); the data list, files,"
                f" augmentation, image size, seed, num_views or teachers are others than it was filled with: {REMEDY}"
            )
