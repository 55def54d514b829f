"""The last step of inference: masks and their clip to files, as a MONAI transform."""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import CommonKeys

from bundle.atomic import atomic_folder
from bundle.data.clip import Clip, FrameOrigin
from bundle.inference.results import DONE, StudyResult, StudyResults, without_names
from bundle.inference.study_dataset import SOURCE, STUDY_KEY
from bundle.inference.writers import WRITERS, Study
from bundle.keys import IMAGE, PIXEL_ASPECT, PIXEL_SPACING_MM


class SaveStudyd(MapTransform):
    """Write a study's results into ``<output_dir>/<study key>/``, all of them or none.

    Args:
        structures: Names of the channels, in order.
        results: Where the study is recorded as done; its ``output_dir`` is used.
        outputs: Names in ``bundle.inference.writers.WRITERS``; by default all of them.
        model: Name and version of what made the masks, for the sidecars.
        progress: Whether to show progress bars.
        keys: The entry with the masks.
        allow_missing_keys: As in every MONAI transform.

    Raises:
        ValueError: If an output's name is not known.
    """

    def __init__(
        self,
        structures: Sequence[str],
        results: StudyResults,
        outputs: Sequence[str] = tuple(WRITERS),
        model: Mapping[str, str] | None = None,
        progress: bool = True,
        keys: KeysCollection = CommonKeys.PRED,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        unknown = [name for name in outputs if name not in WRITERS]
        if unknown or not outputs:
            raise ValueError(f"outputs must be some of {sorted(WRITERS)}, got {list(outputs)}")
        self.structures = tuple(structures)
        self.results = results
        self.outputs = tuple(outputs)
        self.model = dict(model or {})
        self.progress = progress

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write ``pred`` ``(T, S, H, W)``, which belongs to ``image``, a clip that ``ClipReader`` has read."""
        entry = dict(data)
        clip = clip_from_image(entry[IMAGE])
        for key in self.key_iterator(entry):
            masks = torch.as_tensor(entry[key]).cpu().numpy()
            with atomic_folder(self.results.output_dir / entry[STUDY_KEY]) as folder:
                result = self._write(masks, clip, Path(entry[SOURCE]), entry[STUDY_KEY], folder)
            self.results.add(result)
        return entry

    def _write(self, masks: np.ndarray, clip: Clip, source: Path, key: str, folder: Path) -> StudyResult:
        clip = replace(clip, warnings=tuple(without_names(warning, source) for warning in clip.warnings))
        study = Study(key, masks, clip, self.structures, self.model, self.progress)
        left_out = [note for name in self.outputs if (note := WRITERS[name](study, folder))]
        written = tuple(sorted(file.name for file in folder.iterdir()))
        notes = (*clip.warnings, *left_out)
        result = StudyResult(source, key, DONE, frames=clip.num_frames, outputs=written, notes=notes)
        self.results.write_record(folder, result)
        return result


def clip_from_image(image: MetaTensor) -> Clip:
    """The clip that ``ClipReader`` turned into an image ``(T, 1, H, W)`` with meta data."""
    frames = image.cpu().numpy().astype(np.float32, copy=False)
    times = np.asarray(image.meta["frame_times_ms"], np.float64).reshape(-1)
    rows, columns = (float(value) for value in np.asarray(image.meta[PIXEL_SPACING_MM]).reshape(-1))
    return Clip(
        stored=frames,
        frame_times_ms=None if np.isnan(times).any() else times,
        frame_times_source=str(image.meta["frame_times_source"]),
        pixel_spacing_mm=None if np.isnan(rows + columns) else (rows, columns),
        spacing_source=str(image.meta["spacing_source"]),
        pixel_aspect=float(image.meta[PIXEL_ASPECT]),
        pixel_intensity_relationship=str(image.meta["pixel_intensity_relationship"]),
        origin=tuple(FrameOrigin(Path(path), index) for path, index in json.loads(image.meta["origin"])),
        warnings=tuple(json.loads(image.meta["warnings"])),
        name=Path(str(image.meta["filename_or_obj"])).stem,
    )
