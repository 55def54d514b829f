"""One frame of a data list, with its label, as tensors."""

from collections.abc import Hashable, Mapping, Sequence
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
from bundle.transforms.recent import RecentlyUsed

ASPECT_TOLERANCE = 0.01
"""Largest relative difference of two words about the shape of a pixel: headers round; 8:9 and 10:11 differ by 2%."""


class LoadFramed(MapTransform):
    """Load the frame, and the label if there is one, that an entry of ``load_datalist`` names.

    Gives ``image (1, H, W)`` float32 in [0, 1], ``label (S, H, W)`` uint8, ``pixel_spacing_mm (2,)``, NaN if unknown,
    and ``pixel_aspect``; passes ``frame``, ``patient`` and ``clip`` on.

    Args:
        structures: Label channels, in order; None if the entries carry no labels.
        num_recent: Decoded clips, and as many labels, that each process keeps.
        keys: The entry with the clip's path.
        allow_missing_keys: As in every MONAI transform.
    """

    def __init__(
        self,
        structures: Sequence[str] | None,
        num_recent: int = 2,
        keys: KeysCollection = IMAGE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.structures = None if structures is None else tuple(structures)
        self._clips = RecentlyUsed(num_recent)
        self._labels = RecentlyUsed(num_recent)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        entry = dict(data)
        for key in self.key_iterator(entry):
            clip = self._clip(entry[key])
            _check_index(entry[FRAME], clip.num_frames, entry[key])
            frame = clip.frame(entry[FRAME])
            entry[PIXEL_ASPECT] = _aspect(clip, entry.get(PIXEL_ASPECT), entry.get(PIXEL_SPACING_MM), entry[key])
            entry[PIXEL_SPACING_MM] = _spacing(clip, entry.get(PIXEL_SPACING_MM))
            if self.structures is not None:
                label = self._label(entry)
                _check_size(frame, label, entry[key])
                entry[LABEL] = torch.from_numpy(label)
            entry[key] = torch.from_numpy(frame)
        entry.pop(LABEL_FRAME, None)
        return entry

    def _clip(self, path: Any) -> Clip:
        return self._clips.get(str(path), lambda: read_clip(path))

    def _label(self, entry: Mapping[Hashable, Any]) -> np.ndarray:  # (S, H, W)
        if LABEL not in entry:
            raise ValueError(f"{entry[IMAGE]} has no label, but structures {list(self.structures or ())} are asked for")
        spec = entry[LABEL]
        masks = self._labels.get(spec, lambda: read_labels(spec, self.structures or ()))
        index = entry.get(LABEL_FRAME, entry[FRAME])
        _check_index(index, len(masks), f"label of {entry[IMAGE]}")
        return np.array(masks[index], order="C")  # a copy, so that the whole label is not kept alive


def _check_index(index: int, num_frames: int, owner: Any) -> None:
    if not 0 <= index < num_frames:
        raise ValueError(f"{owner} has {num_frames} frames, frame {index} (counted from 0) is asked for")


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
