"""The one body that a mask shows, without specks far from it, and what a curve shows without frames that jump."""

import numpy as np

from bundle.metrics.kinematics.clip_masks import ClipMasks
from bundle.metrics.plausibility import box_of

# Pixels further from the middle than this many times the median distance are specks: a disk ends at 1.4 times, a
# straight rod at 2.
FAR = 3.0
NEIGHBORHOOD = 5  # frames, of which two may jump
# A point this many %C2-4 from the median of its neighborhood is no place of the structure: twice what people err by.
JUMP = 12.0


def body_pixels(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a mask ``(H, W)``, not empty, without those far from where most of them are.

    The body is told by where most pixels are, so one speck after the other may lie anywhere as long as all of them
    together are less than half. A mask without specks is whole.
    """
    box = box_of(mask)  # the frame may be much larger
    if box is None:
        raise ValueError("an empty mask has no body")
    rows, columns = np.nonzero(mask[box])
    rows, columns = rows + box[0].start, columns + box[1].start
    distance = np.hypot(rows - np.median(rows), columns - np.median(columns))
    near = distance <= FAR * max(1.0, float(np.median(distance)))
    return rows[near], columns[near]


def body_centers(clip: ClipMasks, name: str) -> np.ndarray:
    """Centroids (x, y) of a structure's body ``(T, 2)``, as of ``ClipMasks.centroid``; NaN where it is absent."""
    centers = np.full((clip.num_frames, 2), np.nan)
    for frame in np.flatnonzero(clip.is_present(name)).tolist():
        rows, columns = body_pixels(clip.mask(name, frame))
        centers[frame] = columns.mean(), rows.mean() * clip.pixel_aspect
    return centers


def steady(points: np.ndarray) -> np.ndarray:
    """Which points ``(T, 2)`` in %C2-4, of consecutive frames, lie where their neighborhood does ``(T,)`` bool.

    The median of a neighborhood lies on the way of whatever moves one way through it, so fast motion is kept.
    """
    return np.asarray(np.linalg.norm(points - _middles(points, NEIGHBORHOOD), axis=1) <= JUMP)


def without_spikes(values: np.ndarray) -> np.ndarray:
    """A curve ``(T,)`` in which one frame alone tells nothing; what rises or falls stays as it is, but for its ends."""
    return _middles(values, 3)


def _middles(values: np.ndarray, size: int) -> np.ndarray:
    """Median over each frame's neighborhood, which lies wholly in the film ``(T, ...)``."""
    size = min(size, len(values))
    firsts = np.clip(np.arange(len(values)) - size // 2, 0, len(values) - size)
    return np.asarray(np.median(values[firsts[:, None] + np.arange(size)], axis=1))


def true_runs(is_so: np.ndarray) -> list[tuple[int, int]]:
    """First index and the one after the last of each run of true values of ``(T,)``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_so.astype(np.int8), [0]])))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]
