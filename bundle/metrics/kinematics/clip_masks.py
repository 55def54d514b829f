"""The masks of a clip by structure's name, with the sums that every measure starts from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bundle.metrics.kinematics.measure import NotComputableError
from bundle.structures import STRUCTURES


class ClipMasks:
    """Masks and frame times of one swallow. A structure that is empty in a frame is *absent* there.

    Lengths are counted in widths of a pixel and areas in its square: right where pixels are not square.

    Args:
        masks: Binary masks ``(T, S, H, W)``, array or CPU tensor.
        frame_times_ms: Time of each frame ``(T,)``, strictly increasing; None where it is unknown.
        structures: Names of the S channels.
        pixel_aspect: Height of a pixel divided by its width.

    Raises:
        ValueError: If shapes and names do not fit, values are not 0 and 1, times do not increase, or the aspect is not
            positive.
    """

    def __init__(
        self,
        masks: ArrayLike,
        frame_times_ms: ArrayLike | None,
        structures: Sequence[str] = STRUCTURES,
        pixel_aspect: float = 1.0,
    ) -> None:
        if not (np.isfinite(pixel_aspect) and pixel_aspect > 0):
            raise ValueError(f"pixel_aspect must be a pixel's height over its width, above 0, got {pixel_aspect}")
        self.masks = _check_masks(np.asarray(masks), structures)
        self.times_ms = None if frame_times_ms is None else _check_times(frame_times_ms, len(self.masks))
        self.structures = tuple(structures)
        self.pixel_aspect = float(pixel_aspect)
        self.num_frames = len(self.masks)

    @property
    def frame_interval_ms(self) -> float:
        """Median time between two frames."""
        if self.times_ms is None or self.num_frames < 2:
            raise NotComputableError("needs frame times")
        return float(np.median(np.diff(self.times_ms)))

    def milliseconds(self, first: int, last: int) -> float:
        """Time from one frame to another."""
        if self.times_ms is None:
            raise NotComputableError("needs frame times")
        return float(self.times_ms[last] - self.times_ms[first])

    def mask(self, name: str) -> np.ndarray:
        """Mask of a structure ``(T, H, W)`` bool; empty where the clip has no such channel."""
        if name not in self.structures:
            return np.zeros((self.num_frames, *self.masks.shape[2:]), bool)
        return self.masks[:, self.structures.index(name)]

    def require(self, *names: str) -> None:
        """Raise unless each structure is there in one frame at least."""
        missing = [name for name in names if not self.mask(name).any()]
        if missing:
            raise NotComputableError(f"needs {', '.join(missing)}")

    def area(self, name: str) -> np.ndarray:
        """Area of a structure ``(T,)``."""
        return self.area_of(self.mask(name))

    def area_of(self, masks: np.ndarray) -> np.ndarray:
        """Areas ``(N,)`` of masks ``(N, H, W)`` on the clip's grid."""
        return masks.sum(axis=(1, 2)) * self.pixel_aspect

    def centroid(self, name: str) -> np.ndarray:
        """Centroids (x, y) of a structure ``(T, 2)``, the first pixel's centre at (0, 0); NaN where it is absent."""
        mask = self.mask(name)
        columns, rows = mask.sum(axis=1).astype(float), mask.sum(axis=2).astype(float)
        along_y = np.arange(rows.shape[1]) * self.pixel_aspect
        sums = np.stack([columns @ np.arange(columns.shape[1]), rows @ along_y], axis=1)
        area = rows.sum(axis=1)
        return sums / np.where(area > 0, area, np.nan)[:, None]


def _check_masks(masks: np.ndarray, structures: Sequence[str]) -> np.ndarray:
    if masks.ndim != 4 or masks.shape[1] != len(structures) or len(masks) == 0:
        raise ValueError(f"masks must be (T, {len(structures)}, H, W) in the order {structures}, got {masks.shape}")
    if masks.dtype != bool and not ((masks == 0) | (masks == 1)).all():
        raise ValueError(f"masks must hold 0 and 1 only, got values in [{masks.min():g}, {masks.max():g}]")
    return masks.astype(bool)


def _check_times(frame_times_ms: ArrayLike, num_frames: int) -> np.ndarray:
    times = np.asarray(frame_times_ms, float)
    if times.shape != (num_frames,):
        raise ValueError(
            f"frame_times_ms must be ({num_frames},), one per frame, got {times.shape}; unknown: pass None"
        )
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("frame_times_ms must be finite and strictly increasing; unknown: pass None")
    return times
