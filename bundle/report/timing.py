"""The page's clock: the source's frame times, or a stated rate where it has none."""

import numpy as np

from bundle.data.clip import Clip

DISPLAY_RATE = 12
"""Frames per second at which a clip without frame times is shown, as in the overlay video."""


def usable_times(clip: Clip) -> np.ndarray | None:
    """Frame times ``(T,)`` in ms, 0 for the first frame; None where there are none or they do not increase."""
    times = clip.frame_times_ms
    if times is None or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        return None
    return times - times[0]


def rate_in_words(clip: Clip) -> str:
    """Frames per second and where they come from."""
    times = usable_times(clip)
    if times is None:
        known = "no frame times" if clip.frame_times_ms is None else "frame times do not increase and are not used"
        return f"{known}; shown at {DISPLAY_RATE} frames/s, for looking at only"
    if len(times) < 2:
        return "one frame"
    steps = np.diff(times)
    varies = ", varying" if steps.max() > 1.1 * steps.min() else ""
    stated = "" if clip.frame_times_source == "none" else f" ({clip.frame_times_source})"
    return f"{1000 / np.median(steps):.3g} frames/s{varies}, from the source's frame times{stated}"


def moment(clip: Clip, frame: int) -> str:
    """Such as ``frame 12 · 0.367 s``, counted from 1."""
    times = usable_times(clip)
    return f"frame {frame + 1}" if times is None else f"frame {frame + 1} · {times[frame] / 1000:.3f} s"
