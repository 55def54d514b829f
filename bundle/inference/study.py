"""A segmented clip, and what a reader of its masks must know and mask files cannot say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from bundle.data.clip import Clip
from bundle.metrics.kinematics import FilmMeasures, largest_field, measure_if_lateral
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.metrics.kinematics.verdict import Verdict
from bundle.metrics.measured_errors import UNMEASURED, MeasuredErrors
from bundle.metrics.reliability import measure_rows
from bundle.report.words import usable_times

INTENDED_USE = "research use only, not for diagnosis"
NOMINAL_GEOMETRY = "a projection has no position in the patient: origin and orientation are nominal"


@dataclass(frozen=True)
class SegmentedStudy:
    """A clip with its masks; no file names, no patients.

    Attributes:
        masks: ``(T, S, H, W)``, 0 or 1, an array or a ``MaskSpool``.
        clip: What was segmented.
        structures: Names of the S channels.
        model: Name and version of what made the masks.
        key: What it is called in the results.
        progress: Whether to show progress bars.
        brightest: Each pixel's highest value over all frames ``(H, W)``, for the visible field; None: all is visible.
        errors: What is known of the errors of the model's measures.
        verdict: Whether it looks like a lateral swallow study. None: its masks alone are asked.

    Raises:
        ValueError: If the masks are not on the clip's grid, or not one channel per structure.
    """

    masks: MaskFrames
    clip: Clip
    structures: Sequence[str]
    model: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    progress: bool = False
    brightest: np.ndarray | None = None
    errors: MeasuredErrors = UNMEASURED
    verdict: Verdict | None = None
    _measuring: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        clip = self.clip
        expected = (clip.num_frames, len(self.structures), clip.shape.rows, clip.shape.columns)
        if tuple(self.masks.shape) != expected:
            raise ValueError(
                f"masks must be (T, S, H, W) = {expected} for this clip and {len(self.structures)} structures, "
                f"got {tuple(self.masks.shape)}"
            )

    @cached_property
    def measures(self) -> FilmMeasures:
        """Measures of each swallow, worked out once for the table and the report; refused where the study is."""
        with self._measuring:  # the outputs are written at the same time
            if "measures" not in self.__dict__:
                visible = None if self.brightest is None else largest_field(self.brightest)
                times, aspect = usable_times(self.clip), self.clip.pixel_aspect
                found = measure_if_lateral(self.masks, times, self.structures, aspect, visible, self.verdict)
                self.__dict__["measures"] = self.errors.of_film(found)
            return self.__dict__["measures"]

    def measure_rows(self) -> list[dict[str, Any]]:
        """A row for every measure of every swallow, by the columns of ``measures.csv``."""
        return measure_rows(self.measures)

    @property
    def interval_ms(self) -> float | None:
        """Mean time between frames; None where the clip has no times or one frame."""
        times = self.clip.frame_times_ms
        if times is None or len(times) < 2 or times[-1] <= times[0]:
            return None
        return float(times[-1] - times[0]) / (len(times) - 1)

    def describe(self) -> dict[str, Any]:
        """Plain values for a JSON sidecar."""
        clip, spacing, times = self.clip, self.clip.pixel_spacing_mm, self.clip.frame_times_ms
        return {
            "content": "automatic segmentation masks",
            "intended_use": INTENDED_USE,
            "model": dict(self.model),
            "structures": [{"index": index, "name": name} for index, name in enumerate(self.structures)],
            "num_frames": clip.num_frames,
            "rows": clip.shape.rows,
            "columns": clip.shape.columns,
            "pixel_aspect": round(clip.pixel_aspect, 6),
            "pixel_spacing_mm": None if spacing is None else [float(value) for value in spacing],
            "spacing_source": clip.spacing_source if spacing is not None else "none",
            "frame_times_ms": None if times is None else [round(float(time), 6) for time in times],
            "frame_times_source": clip.frame_times_source if times is not None else "none",
            "pixel_intensity_relationship": clip.pixel_intensity_relationship or "not stated",
            "geometry": NOMINAL_GEOMETRY,
        }
