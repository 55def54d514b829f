"""Hyoid motion in the axes of the spine: rest, onset of the forward and upward burst, peak, speed."""

from dataclasses import dataclass

import numpy as np

from bundle.metrics.kinematics.body import body_centers, steady, without_spikes
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
BURST = (0.2, 0.8)  # shares of the way to the peak between which the burst is fastest, whatever noise does at its ends
HYOID = "hyoid"
LEAST_FRAMES = 3
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


def hyoid_track(clip: ClipMasks, spine: SpineFrame) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``(N,)`` that show where the hyoid is, and its place there, forward and up from C4 in %C2-4 ``(N, 2)``.

    Specks far from the body are left out of its place, and so are frames in which it jumps out of its way and back.
    """
    clip.require(HYOID)
    shown = np.flatnonzero(clip.is_present(HYOID) & np.isfinite(spine.c2[:, 0]) & np.isfinite(spine.c4[:, 0]))
    if not len(shown):
        raise NotComputableError("needs hyoid, c2 and c4 in one frame")
    points = spine.percent(body_centers(clip, HYOID))[shown]
    kept = steady(points)
    return shown[kept], points[kept]


def find_hyoid_motion(clip: ClipMasks, spine: SpineFrame) -> HyoidMotion:
    """Find rest, onset and peak of one swallow."""
    frames, points = hyoid_track(clip, spine)
    if len(frames) < LEAST_FRAMES:
        raise NotComputableError(f"needs hyoid, c2 and c4 together in {LEAST_FRAMES} frames or more")
    before, later = _rest(points)
    rest = np.median(points[before], axis=0)
    moved = np.linalg.norm(points - rest, axis=1)
    peak = points[moved >= PEAK_SHARE * moved.max()].mean(axis=0)
    arrival = int(np.argmax(moved >= ARRIVAL_SHARE * np.linalg.norm(peak - rest)))
    times = frames.astype(float) if clip.times_ms is None else clip.times_ms[frames]
    onset = _onset((points - rest) @ (peak - rest) / float((peak - rest) @ (peak - rest)), times, arrival)
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


def position_result(position: np.ndarray, axis: str, num_frames: int) -> Result:
    """One coordinate, or the length for ``xy``, of a position or displacement ``(2,)``."""
    value = np.hypot(*position) if axis == "xy" else position[AXES.index(axis)]
    return float(value), num_frames


def speed_result(motion: HyoidMotion, clip: ClipMasks) -> Result:
    """Mean speed from onset to peak in %C2-4/s."""
    duration = clip.milliseconds(motion.onset_frame, motion.peak_frame)
    if duration <= 0:
        raise NotComputableError("needs frames between the onset and the peak of hyoid motion")
    return 1000.0 * float(np.linalg.norm(motion.peak - motion.onset_position)) / duration, motion.num_frames


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


def _onset(share: np.ndarray, times: np.ndarray, peak: int) -> int:
    """Index at which the fast run that leads to ``peak`` starts; ``share`` ``(T,)`` is 0 at rest and 1 at the peak."""
    if peak == 0:
        return 0
    share = without_spikes(share)
    speed = (np.diff(share) / np.diff(times))[:peak]
    low = np.flatnonzero(share[:peak] <= BURST[0])
    high = np.flatnonzero(share[: peak + 1] >= BURST[1])
    first = int(low[-1]) if len(low) else 0
    last = max(int(high[high > first][0]) if (high > first).any() else peak, first + 1)
    fastest = first + int(np.argmax(speed[first:last]))
    slow = np.flatnonzero(speed[:fastest] < ONSET_SHARE * speed[fastest])
    return int(slow[-1]) + 1 if len(slow) else 0
