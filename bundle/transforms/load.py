"""One frame of a data list, with its label, as tensors: the part of it that shows the picture."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from bundle.data.clip import Clip
from bundle.data.datalist import LABEL_FRAME
from bundle.data.labels import read_labels
from bundle.data.readers import read_clip
from bundle.keys import FRAME, IMAGE, LABEL, PIXEL_ASPECT, PIXEL_SPACING_MM
from bundle.transforms.field_of_view import Window, view_of_clip
from bundle.transforms.recent import RecentlyUsed

ASPECT_TOLERANCE = 0.01
"""Largest relative difference of two words about the shape of a pixel: headers round; 8:9 and 10:11 differ by 2%."""


class LoadFramed(MapTransform):
    """Load the frame, and the label if there is one, that an entry of ``load_datalist`` names.

    A recording's black border is cut away, as in inference: ``H`` and ``W`` are of the picture in it. Gives
    ``image (1, H, W)`` float32 in [0, 1], ``label (S, H, W)`` uint8, ``pixel_spacing_mm (2,)``, NaN if unknown, and
    ``pixel_aspect``; passes ``frame``, ``patient`` and ``clip`` on.

    Args:
        structures: Label channels, in order; None if the entries carry no labels.
        num_recent: Decoded clips, and as many labels, that each process keeps.
        finds_field_of_view: Whether a black border is cut away; see :func:`view_of_clip`.
        keys: The entry with the clip's path.
        allow_missing_keys: As in every MONAI transform.
    """

    def __init__(
        self,
        structures: Sequence[str] | None,
        num_recent: int = 2,
        finds_field_of_view: bool = True,
        keys: KeysCollection = IMAGE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.structures = None if structures is None else tuple(structures)
        self.finds_field_of_view = finds_field_of_view
        self._clips = RecentlyUsed(num_recent)
        self._labels = RecentlyUsed(num_recent)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        entry = dict(data)
        for key in self.key_iterator(entry):
            clip, view = self._clips.get(str(entry[key]), partial(self._read, entry[key]))
            _check_index(entry[FRAME], clip.num_frames, entry[key])
            frame = clip.frame(entry[FRAME])
            entry[PIXEL_ASPECT] = _aspect(clip, entry.get(PIXEL_ASPECT), entry.get(PIXEL_SPACING_MM), entry[key])
            entry[PIXEL_SPACING_MM] = _spacing(clip, entry.get(PIXEL_SPACING_MM))
            if self.structures is not None:
                label = self._label(entry)
                _check_size(frame, label, entry[key])
                entry[LABEL] = torch.from_numpy(_within(view, label, entry[key]))
            entry[key] = torch.from_numpy(np.ascontiguousarray(frame[:, *view.slices()]))
        entry.pop(LABEL_FRAME, None)
        return entry

    def _read(self, path: Any) -> tuple[Clip, Window]:
        """A clip, and the part of its frames that the network sees."""
        clip = read_clip(path)
        whole = Window.whole(clip.shape.rows, clip.shape.columns)
        return clip, view_of_clip(clip) if self.finds_field_of_view else whole

    def _label(self, entry: Mapping[Hashable, Any]) -> np.ndarray:  # (S, H, W)
        if LABEL not in entry:
            raise ValueError(f"{entry[IMAGE]} has no label, but structures {list(self.structures or ())} are asked for")
        spec = entry[LABEL]
        masks = self._labels.get(spec, lambda: read_labels(spec, self.structures or ()))
        index = entry.get(LABEL_FRAME, entry[FRAME])
        _check_index(index, len(masks), f"label of {entry[IMAGE]}")
        return masks[index]


def _check_index(index: int, num_frames: int, owner: Any) -> None:
    if not 0 <= index < num_frames:
        raise ValueError(f"{owner} has {num_frames} frames, frame {index} (counted from 0) is asked for")


def _within(view: Window, label: np.ndarray, path: Any) -> np.ndarray:
    """Masks of the part that the network sees; a copy, so that the whole label is not kept alive."""
    seen = np.array(label[:, *view.slices()], order="C")
    if np.count_nonzero(seen) < np.count_nonzero(label):
        warnings.warn(
            f"{path}: labels in its black border are left out, as the network does not see it; "
            "finds_field_of_view false keeps the whole frame",
            stacklevel=2,
        )
    return seen


def _spacing(clip: Clip, stated: Sequence[float] | None) -> torch.Tensor:
    """A calibrated spacing goes before the data list's, which goes before the detector's."""
    spacing = clip.pixel_spacing_mm if _is_calibrated(clip) or stated is None else stated
    return torch.tensor(spacing or (float("nan"), float("nan")), dtype=torch.float32)


def _is_calibrated(clip: Clip) -> bool:
    return clip.spacing_source.startswith(("calibrated PixelSpacing", "NIfTI", "ObjectPixelSpacingInCenterOfBeam"))


def _aspect(clip: Clip, stated: float | None, stated_spacing: Sequence[float] | None, path: Any) -> float:
    """Shape of a pixel, by the file and by the data list, whose spacing says it too; square where none says other."""
    said = [clip.pixel_aspect] if clip.pixel_aspect != 1 else []
    said += [float(stated)] if stated is not None else []
    said += [stated_spacing[0] / stated_spacing[1]] if stated_spacing is not None and not _is_calibrated(clip) else []
    if said and max(said) > min(said) * (1 + ASPECT_TOLERANCE):
        raise ValueError(
            f"{path}: a pixel's height divided by its width is {' and '.join(f'{aspect:.4g}' for aspect in said)}, "
            "by the file and the data list's pixel_aspect or pixel_spacing_mm: correct the data list"
        )
    return said[0] if said else 1.0


def _check_size(frame: np.ndarray, label: np.ndarray, path: Any) -> None:
    if frame.shape[1:] != label.shape[1:]:
        got, expected = label.shape[1:], frame.shape[1:]
        raise ValueError(
            f"label of {path} is {got[0]} x {got[1]} pixels, its frames are {expected[0]} x {expected[1]}: "
            "export the masks at the size of the frames"
        )
