"""Tell the swallows of a film apart: the hyoid rises and falls, while the sphincter opens or the pharynx narrows.

After ASPEKT (Steele et al. 2019) a swallow is what lets a bolus through the sphincter. A hyoid that only moves, as in
speech or with the jaw, is none.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.signal import find_peaks

from bundle.metrics.kinematics.body import without_spikes
from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError
from bundle.metrics.kinematics.hyoid import LEAST_FRAMES, hyoid_track
from bundle.metrics.kinematics.pharynx import PHARYNX
from bundle.metrics.kinematics.sphincter import UES
from bundle.metrics.kinematics.spine_frame import SpineFrame

LEAST_RISE = 12.0  # %C2-4 by which the hyoid stands out, up and forward: less is breathing, speech or noise
LEAST_RISE_MS = 150.0  # the hyoid stays this long in the upper half of its rise: shorter is noise
APART_MS = 600.0  # peaks closer than this are one swallow
BEFORE_MS, AFTER_MS = 3000.0, 2000.0  # about the hyoid's peak: what belongs to a swallow, if no other one is nearer
NEAR_MS = 800.0  # about the hyoid's peak: when the sphincter opens and the pharynx narrows
OPEN_SHARE, NARROW_SHARE = 1.25, 0.6  # of the median area: a sphincter above is open, a pharynx below is narrow
REST_SHARE = 0.15  # of the rise above the lowest place between two swallows: rest, which belongs to both
SEEN_SHARE = 0.5  # of a rise that is seen before and after the peak of a whole swallow
NO_TIMES_MS = 33.4  # frame interval that is taken where a film has no times, to tell swallows apart and for no number


class Swallows(NamedTuple):
    """Where the swallows of a film are."""

    windows: list[tuple[int, int]]  # of each whole one, in order of time: its first frame, and the one after the last
    notes: list[str]  # what else there is, in words


def find_swallows(clip: ClipMasks, spine: SpineFrame) -> Swallows:
    """Find every whole swallow of a film.

    Raises:
        NotComputableError: If there is none, with what was looked for.
    """
    frames, points = hyoid_track(clip, spine)
    if len(frames) < LEAST_FRAMES:
        raise NotComputableError(f"needs hyoid, c2 and c4 together in {LEAST_FRAMES} frames or more")
    height = without_spikes(points.sum(axis=1) / np.sqrt(2.0))
    times = clip.times_ms if clip.times_ms is not None else NO_TIMES_MS * np.arange(clip.num_frames)
    peaks = _peaks(height, float(np.median(np.diff(times[frames]))))
    windows, cut = [], []
    for peak, (first, stop) in zip(peaks, _between(height, peaks), strict=True):
        near = abs(times - times[frames[peak]]) <= NEAR_MS
        if not _is_swallow(clip, near):
            continue
        ends = _unseen_ends(height[first:stop], height[peak], peak - first)
        cut += [end for end in ends if end not in cut]
        if not ends:
            inside = (times >= times[frames[peak]] - BEFORE_MS) & (times <= times[frames[peak]] + AFTER_MS)
            inside[: frames[first]] = inside[frames[stop - 1] + 1 :] = False
            windows.append((int(np.argmax(inside)), clip.num_frames - int(np.argmax(inside[::-1]))))
    notes = [f"the film {end} while the hyoid is raised: the swallow there is not whole" for end in cut]
    if not windows:
        raise NotComputableError("needs one whole swallow: " + "; ".join(notes or [_why_none(peaks)]))
    return Swallows(windows, notes)


def _peaks(height: np.ndarray, interval_ms: float) -> np.ndarray:
    """Indices of the rises that are high and long enough; one that an end of the film cuts is among them."""
    padded = np.pad(height, 1, constant_values=height.min())
    distance = max(1.0, APART_MS / interval_ms)
    peaks, _ = find_peaks(padded, prominence=LEAST_RISE, width=max(1.0, LEAST_RISE_MS / interval_ms), distance=distance)
    return np.asarray(peaks - 1)


def _between(height: np.ndarray, peaks: np.ndarray) -> list[tuple[int, int]]:
    """Indices about each peak, up to its neighbors' rise or fall: the first, and the one after the last."""
    firsts, stops = [0], []
    for one, other in pairwise(peaks.tolist()):
        way = height[one : other + 1]
        low = way.min()
        at_rest = one + np.flatnonzero(way <= low + REST_SHARE * (min(way[0], way[-1]) - low))
        stops.append(int(at_rest[-1]) + 1)
        firsts.append(int(at_rest[0]))
    return list(zip(firsts, [*stops, len(height)], strict=True))[: len(peaks)]


def _unseen_ends(height: np.ndarray, top: float, peak: int) -> list[str]:
    """Which ends of a rise the film does not show: ``begins`` or ``ends`` in it."""
    seen = top - SEEN_SHARE * (top - height.min())
    return [end for end, side in (("begins", height[: peak + 1]), ("ends", height[peak:])) if side.min() > seen]


def _is_swallow(clip: ClipMasks, near: np.ndarray) -> bool:
    """Whether the sphincter opens or the pharynx narrows in some frames ``(T,)``; true where the film shows neither."""
    answers = []
    for name in (UES, PHARYNX):
        shown = clip.area(name) > 0
        if (shown & near).any():
            area = without_spikes(clip.area(name)[shown]) / np.median(clip.area(name)[shown])
            there = area[near[shown]]
            answers.append(there.max() >= OPEN_SHARE if name == UES else there.min() <= NARROW_SHARE)
    return any(answers) if answers else True


def _why_none(peaks: np.ndarray) -> str:
    if not len(peaks):
        return f"the hyoid never rises by {LEAST_RISE:.0f} %C2-4 and falls again"
    return "the hyoid moves, but neither does the sphincter open nor the pharynx narrow then"
