"""What can be written of a study, by the names of the config's ``outputs``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bundle.data.clip import Clip
from bundle.inference.dicom_seg import NoSegSourceError, write_dicom_seg
from bundle.inference.measures import write_measures
from bundle.inference.nifti import write_nifti
from bundle.inference.overlay import write_overlay_png
from bundle.inference.png import write_areas, write_pngs
from bundle.inference.video import write_overlay_video
from bundle.metrics.kinematics import SwallowMeasures, measure_swallow, visible_field
from bundle.report.timing import usable_times
from bundle.report.write import write_report


@dataclass(frozen=True)
class Study:
    """A segmented clip.

    Attributes:
        key: What it is called in the results.
        masks: ``(T, S, H, W)`` bool.
        clip: What was segmented.
        structures: Names of the S channels.
        model: Name and version of what made the masks.
        progress: Whether to show progress bars.
    """

    key: str
    masks: np.ndarray
    clip: Clip
    structures: tuple[str, ...]
    model: Mapping[str, str]
    progress: bool = False

    @cached_property
    def measures(self) -> SwallowMeasures:
        """Clinical measures, worked out once for the table and the report."""
        clip = self.clip
        visible = visible_field(clip.frames)
        return measure_swallow(self.masks, usable_times(clip), self.structures, clip.pixel_aspect, visible)


def _write_nifti(study: Study, folder: Path) -> None:
    write_nifti(study.masks, study.clip, study.structures, folder / "masks.nii.gz", study.model)


def _write_pngs(study: Study, folder: Path) -> None:
    write_pngs(study.masks, study.clip, study.structures, folder / "masks", study.progress)


def _write_overlay(study: Study, folder: Path) -> None:
    write_overlay_png(study.masks, study.clip, study.structures, folder / "overlay.png")
    if study.clip.num_frames > 1:
        write_overlay_video(study.masks, study.clip, study.structures, folder / "overlay.mp4", study.progress)


def _write_areas(study: Study, folder: Path) -> None:
    write_areas(study.masks, study.clip, study.structures, folder / "areas.csv")


def _write_measures(study: Study, folder: Path) -> None:
    write_measures(study.measures, folder / "measures.csv", study.model, study.clip.pixel_aspect)


def _write_seg(study: Study, folder: Path) -> str | None:
    path = folder / "masks.dcm"
    try:
        write_dicom_seg(study.masks, study.clip, study.structures, path, study.model, pseudonym=study.key)
    except NoSegSourceError as error:
        return str(error)
    return None


def _write_report(study: Study, folder: Path) -> None:
    path = folder / "report.html"
    write_report(path, study.masks, study.clip, study.structures, study.measures, study.model, study.key)


WRITERS: dict[str, Callable[[Study, Path], str | None]] = {
    "nifti": _write_nifti,
    "png": _write_pngs,
    "overlay": _write_overlay,
    "areas": _write_areas,
    "measures": _write_measures,
    "seg": _write_seg,
    "report": _write_report,
}
"""Name of an output -> what writes it into a study's folder. It returns why it cannot for such a source, or nothing."""
