"""Hyoid motion in the axes of the spine: rest, onset of the forward and upward burst, peak, speed."""

from dataclasses import dataclass

import numpy as np

from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError, Result
from bundle.metrics.kinematics.spine_frame import SpineFrame

# Share of the frames before the peak, the lowest ones along the main direction of motion, that tell where rest is.
LOWEST_SHARE = 0.1
# Frames within this share of the whole motion above that count as rest too, so that rest is not the lowest noise.
REST_RANGE = 0.04
# Frames with at least this share of the largest displacement are the peak, which is a plateau rather than a point.
PEAK_SHARE = 0.98
ARRIVAL_SHARE = 0.998  # the peak is reached in the first frame with this share of the mean displacement on the plateau
# The burst starts where the speed to the next frame exceeds this share of its maximum, after preparatory drift.
ONSET_SHARE = 0.15
AXES = ("x", "y", "xy")


@dataclass(frozen=True)
class HyoidMotion:
    """Positions (forward, up) from C4 in %C2-4 and frame indices."""

    rest: np.ndarray  # median position over ``rest_frames`` ``(2,)``
    peak: np.ndarray  # mean position over the frames of the peak ``(2,)``
    onset_position: np.ndarray  # position in the frame of the onset ``(2,)``
    rest_frames: np.ndarray  # frames at rest, before the peak
    later_rest_frames: np.ndarray  # frames after it in which the hyoid is back at rest; may be empty
    onset_frame: int  # frame in which the burst towards the peak starts; the next one shows the hyoid moved
    peak_frame: int  # first frame of the peak
    num_frames: int  # number of frames that show hyoid, C2 and C4; no other frame is used, none is filled in


def find_hyoid_motion(clip: ClipMasks, spine: SpineFrame) -> HyoidMotion:
    """Find rest, onset and peak of one swallow."""
    clip.require("hyoid")
    position = spine.percent(clip.centroid("hyoid"))
    frames = np.flatnonzero(np.isfinite(position[:, 0]))
    if len(frames) < 3:
        raise NotComputableError("needs hyoid, c2 and c4 together in 3 frames or more")
    points = position[frames]
    before, later = _rest(points)
    rest = np.median(points[before], axis=0)
    moved = np.linalg.norm(points - rest, axis=1)
    peak = points[moved >= PEAK_SHARE * moved.max()].mean(axis=0)
    arrival = int(np.argmax(moved >= ARRIVAL_SHARE * np.linalg.norm(peak - rest)))
    times = frames.astype(float) if clip.times_ms is None else clip.times_ms[frames]
    onset = _onset(points @ (peak - rest), times, arrival)
    return HyoidMotion(
        rest=rest,
        peak=peak,
        onset_position=points[onset],
        rest_frames=frames[before],
        later_rest_frames=frames[later],
        onset_frame=int(frames[onset]),
        peak_frame=int(frames[arrival]),
        num_frames=len(frames),
    )


def position_result(position: np.ndarray, axis: str, spine: SpineFrame, num_frames: int) -> Result:
    """One coordinate, or the length for ``xy``, of a position or displacement ``(2,)``, ± one pixel."""
    value = np.hypot(*position) if axis == "xy" else position[AXES.index(axis)]
    return float(value), spine.one_pixel, num_frames


def speed_result(motion: HyoidMotion, clip: ClipMasks) -> Result:
    """Mean speed from onset to peak in %C2-4/s; ± what one frame more or less makes."""
    duration = clip.milliseconds(motion.onset_frame, motion.peak_frame)
    if duration <= 0:
        raise NotComputableError("needs frames between the onset and the peak of hyoid motion")
    value = 1000.0 * float(np.linalg.norm(motion.peak - motion.onset_position)) / duration
    return value, value * clip.frame_interval_ms / duration, motion.num_frames


def _rest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the low positions before and after the highest, along the main direction of motion (up, forwards)."""
    centered = points - points.mean(axis=0)
    direction = np.linalg.svd(centered, full_matrices=False)[2][0]
    height = centered @ (direction if direction.sum() > 0 else -direction)
    top = int(np.argmax(height))
    if top == 0:
        raise NotComputableError("needs frames before the hyoid's peak")
    count = min(top, max(3, round(LOWEST_SHARE * top)))
    low = np.median(np.sort(height[:top])[:count])
    at_rest = height <= low + REST_RANGE * (height[top] - low)
    return np.flatnonzero(at_rest[:top]), top + np.flatnonzero(at_rest[top:])


def _onset(along: np.ndarray, times: np.ndarray, peak: int) -> int:
    """Index at which the fast run that leads to ``peak`` starts."""
    if peak == 0:
        return 0
    speed = (np.diff(along) / np.diff(times))[:peak]
    fastest = int(np.argmax(speed))
    slow = np.flatnonzero(speed[:fastest] < ONSET_SHARE * speed[fastest])
    return int(slow[-1]) + 1 if len(slow) else 0
