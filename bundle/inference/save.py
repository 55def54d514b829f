"""The last step of inference: masks and their clip to files, as a MONAI transform."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import CommonKeys

from bundle.data.clip import Clip, FrameOrigin
from bundle.inference.nifti import write_nifti
from bundle.inference.overlay import write_overlay_png
from bundle.inference.png import write_areas, write_pngs
from bundle.inference.results import DONE, StudyResult, StudyResults
from bundle.inference.study_dataset import SOURCE, STUDY_KEY
from bundle.inference.video import write_overlay_video
from bundle.keys import IMAGE
from bundle.metrics.atomic import atomic_folder


class SaveStudyd(MapTransform):
    """Write a study's results into ``<output_dir>/<study key>/``, all of them or none.

    Args:
        structures: Names of the channels, in order.
        results: Where the study is recorded as done; its ``output_dir`` is used.
        outputs: Any of ``nifti``, ``png``, ``overlay`` (film and picture) and ``areas``.
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
        outputs: Sequence[str] = ("nifti", "png", "overlay", "areas"),
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
                for name in self.outputs:
                    WRITERS[name](self, masks, clip, folder)
                written = tuple(sorted(file.name for file in folder.iterdir()))
            self.results.add(
                StudyResult(Path(entry[SOURCE]), entry[STUDY_KEY], DONE, frames=clip.num_frames, outputs=written)
            )
        return entry


def clip_from_image(image: MetaTensor) -> Clip:
    """The clip that ``ClipReader`` turned into an image ``(T, 1, H, W)`` with meta data."""
    frames = image.cpu().numpy().astype(np.float32, copy=False)
    times = np.asarray(image.meta["frame_times_ms"], np.float64).reshape(-1)
    rows, columns = (float(value) for value in np.asarray(image.meta["pixel_spacing_mm"]).reshape(-1))
    path = Path(str(image.meta["filename_or_obj"]))
    return Clip(
        frames=frames,
        frame_times_ms=None if np.isnan(times).any() else times,
        pixel_spacing_mm=None if np.isnan(rows + columns) else (rows, columns),
        spacing_source=str(image.meta["spacing_source"]),
        origin=tuple(FrameOrigin(path, index) for index in range(len(frames))),
        name=path.stem,
    )


def _save_nifti(study: SaveStudyd, masks: np.ndarray, clip: Clip, folder: Path) -> None:
    write_nifti(masks, clip, study.structures, folder / "masks.nii.gz", study.model)


def _save_pngs(study: SaveStudyd, masks: np.ndarray, clip: Clip, folder: Path) -> None:
    write_pngs(masks, clip, study.structures, folder / "masks", study.progress)


def _save_overlay(study: SaveStudyd, masks: np.ndarray, clip: Clip, folder: Path) -> None:
    write_overlay_png(masks, clip, study.structures, folder / "overlay.png")
    if clip.num_frames > 1:
        write_overlay_video(masks, clip, study.structures, folder / "overlay.mp4", study.progress)


def _save_areas(study: SaveStudyd, masks: np.ndarray, clip: Clip, folder: Path) -> None:
    write_areas(masks, clip, study.structures, folder / "areas.csv")


WRITERS: dict[str, Callable[[SaveStudyd, np.ndarray, Clip, Path], None]] = {
    "nifti": _save_nifti,
    "png": _save_pngs,
    "overlay": _save_overlay,
    "areas": _save_areas,
}
