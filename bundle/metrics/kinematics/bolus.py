"""Where the bolus is: entry into the pharynx, pharyngeal transit, contrast in the airway."""

import numpy as np

from bundle.metrics.kinematics.clip_masks import ClipMasks
from bundle.metrics.kinematics.measure import NotComputableError, Result
from bundle.metrics.kinematics.spine_frame import SpineFrame

ENTRY_AREA = 0.05
"""A bolus is in the pharynx once it covers this many %(C2-4)² of it (about 0.7 mm²), more than touching outlines do."""


def entry_frame(clip: ClipMasks, spine: SpineFrame, opening_frame: int) -> int:
    """First frame of the run with bolus in the pharynx that lasts until the sphincter opens.

    Frames without a pharynx count as not seen: they neither start nor end the run.
    """
    clip.require("bolus", "pharynx")
    seen = np.flatnonzero(clip.is_present("pharynx")[: opening_frame + 1])
    inside = clip.areas_of(lambda frame: clip.mask("bolus", frame) & clip.mask("pharynx", frame), seen)
    there = 100.0 * inside / spine.length_px**2 >= ENTRY_AREA
    if not there.any():
        raise NotComputableError("needs bolus in the pharynx before the upper_oesophageal_sphincter opens")
    last = int(np.flatnonzero(there)[-1])
    empty = np.flatnonzero(~there[:last])
    if not len(empty):
        raise NotComputableError("needs frames before the bolus enters the pharynx")
    return int(seen[empty[-1] + 1])


def transit_result(clip: ClipMasks, first: int, last: int) -> Result:
    """Time from the bolus' entry into the pharynx until the sphincter shuts behind it, ± one frame."""
    return clip.milliseconds(first, last), clip.frame_interval_ms, clip.num_frames


def airway_frames(clip: ClipMasks) -> np.ndarray:
    """Indices of the frames in which bolus and vestibule or trachea share a pixel."""
    if not (clip.is_present("laryngeal_vestibule") | clip.is_present("trachea")).any():
        raise NotComputableError("needs laryngeal_vestibule or trachea")
    return np.flatnonzero(clip.areas_of(lambda frame: clip.mask("bolus", frame) & airway(clip, frame)))


def airway(clip: ClipMasks, frame: int) -> np.ndarray:
    """Vestibule and trachea of a frame ``(H, W)``."""
    return clip.mask("laryngeal_vestibule", frame) | clip.mask("trachea", frame)


def airway_result(clip: ClipMasks) -> Result:
    """Number of such frames; a flag for review, never a penetration-aspiration score."""
    return float(len(airway_frames(clip))), None, clip.num_frames
