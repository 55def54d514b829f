"""What can be written of a study, by the names of the config's ``outputs``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bundle.data.clip import Clip
from bundle.inference.dicom_seg import NoSegSourceError, TooLongForSegError, write_dicom_seg
from bundle.inference.measures import write_measures
from bundle.inference.nifti import MOST_FRAMES, write_nifti
from bundle.inference.overlay import write_overlay_png
from bundle.inference.png import write_areas, write_pngs
from bundle.inference.video import write_overlay_video
from bundle.metrics.kinematics import SwallowMeasures, largest_field, measure_if_lateral
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.report.words import usable_times
from bundle.report.write import write_report

MOST_REPORT_FRAMES = 5400
"""Three minutes at 30 frames/s. All pictures of a report share 80 million pixels: more would be too small to see."""


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
        brightest: Each pixel's highest value over all frames ``(H, W)``, for the visible field; None: all is visible.
    """

    key: str
    masks: MaskFrames
    clip: Clip
    structures: tuple[str, ...]
    model: Mapping[str, str]
    progress: bool = False
    brightest: np.ndarray | None = None

    @cached_property
    def measures(self) -> SwallowMeasures:
        """Clinical measures, worked out once for the table and the report; refused where the masks are of no neck."""
        clip = self.clip
        visible = None if self.brightest is None else largest_field(self.brightest)
        return measure_if_lateral(self.masks, usable_times(clip), self.structures, clip.pixel_aspect, visible)


def _write_nifti(study: Study, folder: Path) -> str | None:
    if study.clip.num_frames > MOST_FRAMES:
        return _too_long("NIfTI", MOST_FRAMES)
    write_nifti(study.masks, study.clip, study.structures, folder / "masks.nii.gz", study.model)
    return None


def _write_pngs(study: Study, folder: Path) -> None:
    write_pngs(study.masks, study.clip, study.structures, folder / "masks", study.progress)


def _write_overlay(study: Study, folder: Path) -> None:
    write_overlay_png(study.masks, study.clip, study.structures, folder / "overlay.png")
    if study.clip.num_frames > 1:
        write_overlay_video(study.masks, study.clip, study.structures, folder / "overlay.mp4", study.progress)


def _write_areas(study: Study, folder: Path) -> None:
    write_areas(study.masks, study.clip, study.structures, folder / "areas.csv")


def _write_measures(study: Study, folder: Path) -> str | None:
    write_measures(study.measures, folder / "measures.csv", study.model, study.clip.pixel_aspect)
    return study.measures.refusal or None


def _write_seg(study: Study, folder: Path) -> str | None:
    path = folder / "masks.dcm"
    try:
        write_dicom_seg(study.masks, study.clip, study.structures, path, study.model, pseudonym=study.key)
    except (NoSegSourceError, TooLongForSegError) as error:
        return str(error)
    return None


def _write_report(study: Study, folder: Path) -> str | None:
    if study.clip.num_frames > MOST_REPORT_FRAMES:
        return _too_long("a report", MOST_REPORT_FRAMES)
    path = folder / "report.html"
    write_report(path, study.masks, study.clip, study.structures, study.measures, study.model, study.key)
    return None


def _too_long(output: str, most_frames: int) -> str:
    return f"too long for {output}, {most_frames} frames at most: cut the film"


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

SHOWS_FRAMES = frozenset({"overlay", "report"})
"""Outputs that need the frames besides the masks."""
