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
from bundle.keys import FRAME, IMAGE, LABEL, PIXEL_SPACING_MM
from bundle.transforms.recent import RecentlyUsed


class LoadFramed(MapTransform):
    """Load the frame, and the label if there is one, that an entry of ``load_datalist`` names.

    Gives ``image (1, H, W)`` float32 in [0, 1], ``label (S, H, W)`` uint8 and ``pixel_spacing_mm (2,)``, NaN if
    unknown; passes ``frame``, ``patient`` and ``clip`` on.

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
            frame = _pick(clip.frames, entry[FRAME], entry[key])
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
        return _pick(masks, entry.get(LABEL_FRAME, entry[FRAME]), f"label of {entry[IMAGE]}")


def _pick(frames: np.ndarray, index: int, owner: Any) -> np.ndarray:
    if not 0 <= index < len(frames):
        raise ValueError(f"{owner} has {len(frames)} frames, frame {index} (counted from 0) is asked for")
    return np.array(frames[index], order="C")  # a copy, so that the whole clip is not kept alive


def _spacing(clip: Clip, stated: Sequence[float] | None) -> torch.Tensor:
    """A calibrated spacing goes before the data list's, which goes before the detector's."""
    is_calibrated = clip.spacing_source in ("calibrated PixelSpacing", "NIfTI header")
    spacing = clip.pixel_spacing_mm if is_calibrated or stated is None else stated
    return torch.tensor(spacing or (float("nan"), float("nan")), dtype=torch.float32)


def _check_size(frame: np.ndarray, label: np.ndarray, path: Any) -> None:
    if frame.shape[1:] != label.shape[1:]:
        got, expected = label.shape[1:], frame.shape[1:]
        raise ValueError(
            f"label of {path} is {got[0]} x {got[1]} pixels, its frames are {expected[0]} x {expected[1]}: "
            "export the masks at the size of the frames"
        )
