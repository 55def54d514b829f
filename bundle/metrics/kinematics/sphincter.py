"""Opening of the upper oesophageal sphincter (UES)."""

from dataclasses import dataclass

import numpy as np

from bundle.metrics.kinematics.clip_masks import ClipMasks
from bundle.metrics.kinematics.measure import NotComputableError, Result
from bundle.metrics.kinematics.spine_frame import SpineFrame
from bundle.metrics.kinematics.width import narrowest, width_profile

UES = "upper_oesophageal_sphincter"

LEAST_VISIBLE = 0.65
"""Open is at least this many %C2-4 (about 0.25 mm) wider than shut, half a pixel, and three times the noise."""

NEARLY_SHUT_SHARE = 0.2
"""Frames up to this share of the widest opening tell what shut is, by their median."""

WIDEST_SHARE = 0.97
"""Frames with at least this share of the widest opening are the widest, a plateau rather than a moment."""

LEAST_OPENING = 3.0
"""An opening below this many %C2-4 (about 1 mm) is not told from a shut sphincter."""

CROSSED_PIXELS = 1.5
"""A sphincter whose axis crosses fewer lines of pixels stands along the grid."""

MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True)
class Opening:
    """One opening of the sphincter.

    Attributes:
        width: Widest opening in %C2-4, the median over its plateau.
        opening_frame: First open frame.
        widest_frame: First frame of that plateau.
        closing_frame: First shut frame after it; None where the clip ends before.
        num_frames: Number of frames that show the sphincter with C2 and C4; no other frame is used.
        is_along_grid: Whether its walls run along the pixels' rows or columns, so its width is known to a pixel.
    """

    width: float
    opening_frame: int
    widest_frame: int
    closing_frame: int | None
    num_frames: int
    is_along_grid: bool = False


def find_opening(clip: ClipMasks, spine: SpineFrame) -> Opening:
    """Find the widest opening and the frames around it.

    The mask of a shut sphincter is its two walls in contact, so an opening is the mask's width less its width when
    shut. Widths are taken in the middle half of its height, at right angles to its own axis: the mean, which
    is the steadier one, tells open from shut and where the plateau of the widest opening is; the opening there is
    measured at the narrowest place, as in ASPEKT.

    Args:
        clip: Masks of one swallow, with frames in which the sphincter is shut.
        spine: Axes of each frame.

    Raises:
        NotComputableError: If the sphincter is missing, never opens, or is open from the start.
    """
    clip.require(UES)
    frames = np.flatnonzero(clip.is_present(UES) & np.isfinite(spine.c4[:, 0]))
    if not len(frames):
        raise NotComputableError(f"needs {UES}, c2 and c4 in one frame")
    profiles = [width_profile(clip.mask(UES, int(frame)), spine.up[frame], clip.pixel_aspect) for frame in frames]
    widths = np.array([profile.widths for profile in profiles]) * 100.0 / spine.length_px
    opening, shut = _opening(widths.mean(axis=1), 0.5 * spine.one_pixel)
    plateau = opening >= WIDEST_SHARE * opening.max()
    width = narrowest(np.median(widths[plateau], axis=0)) - np.median(widths[shut].mean(axis=1))
    widest = int(np.argmax(plateau))
    before, after = np.flatnonzero(shut[:widest]), np.flatnonzero(shut[widest:])
    if not len(before):
        raise NotComputableError(f"needs frames before the {UES} opens")
    crossed = np.median(np.array([profile.crossed_pixels for profile in profiles])[plateau])
    return Opening(
        width=float(width),
        opening_frame=int(frames[before[-1] + 1]),
        widest_frame=int(frames[widest]),
        closing_frame=int(frames[widest + after[0]]) if len(after) else None,
        num_frames=len(frames),
        is_along_grid=bool(crossed < CROSSED_PIXELS),
    )


def _opening(widths: np.ndarray, half_pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Widths ``(T,)`` in %C2-4 less the median width when shut, and which frames are shut."""
    opening = widths - np.percentile(widths, 10)
    if opening.max() < LEAST_OPENING:
        raise NotComputableError(f"needs frames with the {UES} shut and open")
    resting = widths[opening <= NEARLY_SHUT_SHARE * opening.max()]
    opening = widths - np.median(resting)
    noise = MAD_TO_DEVIATION * np.median(abs(resting - np.median(resting)))
    least = max(LEAST_VISIBLE, half_pixel, 3.0 * noise)
    return opening, opening <= min(least, 0.5 * opening.max())


def width_result(opening: Opening, spine: SpineFrame) -> Result:
    """Widest opening ± one pixel."""
    return opening.width, spine.one_pixel, opening.num_frames


def duration_result(opening: Opening, clip: ClipMasks) -> Result:
    """Time from opening to closing ± one frame."""
    return clip.milliseconds(opening.opening_frame, closing_frame(opening)), clip.frame_interval_ms, opening.num_frames


def closing_frame(opening: Opening) -> int:
    """The closing, or what is missing."""
    if opening.closing_frame is None:
        raise NotComputableError(f"needs frames after the {UES} closes")
    return opening.closing_frame
