"""Opening of the upper oesophageal sphincter (UES)."""

from dataclasses import dataclass

import numpy as np

from bundle.metrics.kinematics.clip_masks import ClipMasks
from bundle.metrics.kinematics.measure import NotComputableError, Result
from bundle.metrics.kinematics.spine_frame import SpineFrame

UES = "upper_oesophageal_sphincter"

SUB_PIXELS = np.stack(np.meshgrid([-1 / 3, 0.0, 1 / 3], [-1 / 3, 0.0, 1 / 3])).reshape(2, 9)
"""Offsets (x, y) of nine points in a pixel from its centre."""

OPEN_SHARE = 0.08
"""Open is wider, beyond the shut width, than this share of the widest opening."""

WIDEST_SHARE = 0.97
"""Frames with at least this share of the widest opening are the widest, a plateau rather than a moment."""

LEAST_OPENING = 3.0
"""An opening below this many %C2-4 (about 1 mm) is not told from a shut sphincter."""


@dataclass(frozen=True)
class Opening:
    """One opening of the sphincter.

    Attributes:
        width: Widest opening in %C2-4, the median over its plateau.
        opening_frame: First open frame.
        widest_frame: First frame of that plateau.
        closing_frame: First shut frame after it; None where the clip ends before.
        num_frames: Number of frames that show the sphincter with C2 and C4; no other frame is used.
    """

    width: float
    opening_frame: int
    widest_frame: int
    closing_frame: int | None
    num_frames: int


def find_opening(clip: ClipMasks, spine: SpineFrame) -> Opening:
    """Find the widest opening and the frames around it.

    The mask of a shut sphincter is its two walls in contact, so an opening is the mask's width less its median width
    when shut. Widths are taken in the middle half of the sphincter's height, at right angles to C2-C4: the mean, which
    is the steadier one, tells open from shut and where the plateau of the widest opening is; the opening there is
    measured at the narrowest place, as in ASPEKT.

    Args:
        clip: Masks of one swallow, with frames in which the sphincter is shut.
        spine: Axes of each frame.

    Raises:
        NotComputableError: If the sphincter is missing, never opens, or is open from the start.
    """
    clip.require(UES)
    masks = clip.mask(UES)
    frames = np.flatnonzero(masks.any(axis=(1, 2)) & np.isfinite(spine.c4[:, 0]))
    if not len(frames):
        raise NotComputableError(f"needs {UES}, c2 and c4 in one frame")
    widths = np.array([middle_widths(masks[frame], spine.up[frame]) for frame in frames]) * spine.one_pixel
    opening = _opening(widths[:, 0])
    shut = opening <= OPEN_SHARE * opening.max()
    plateau = opening >= WIDEST_SHARE * opening.max()
    width = np.median(widths[plateau, 1]) - np.median(widths[shut, 1])
    widest = int(np.argmax(plateau))
    before, after = np.flatnonzero(shut[:widest]), np.flatnonzero(shut[widest:])
    if not len(before):
        raise NotComputableError(f"needs frames before the {UES} opens")
    closing = int(frames[widest + after[0]]) if len(after) else None
    return Opening(float(width), int(frames[before[-1] + 1]), int(frames[widest]), closing, len(frames))


def _opening(widths: np.ndarray) -> np.ndarray:
    """Widths ``(T,)`` in %C2-4 less the median width when shut."""
    opening = widths - np.percentile(widths, 10)
    if opening.max() < LEAST_OPENING:
        raise NotComputableError(f"needs frames with the {UES} shut and open")
    return widths - np.median(widths[opening <= OPEN_SHARE * opening.max()])


def middle_widths(mask: np.ndarray, up: np.ndarray) -> tuple[float, float]:
    """Mean and narrowest width in pixels across a direction, in the middle half of the mask's extent along it.

    Args:
        mask: ``(H, W)`` bool, not empty.
        up: Unit vector (x, y) ``(2,)``.
    """
    rows, columns = np.nonzero(mask)
    # Nine points a pixel, three slices: the area of a slice, over its height, is a width finer than a pixel.
    steps = np.add.outer(np.array(up) @ SUB_PIXELS, columns * up[0] + rows * up[1]).ravel()
    low, high = steps.min() - 1 / 6, steps.max() + 1 / 6
    edges = low + (high - low) * np.linspace(0.25, 0.75, 4)
    slices = np.histogram(steps, edges)[0] / (SUB_PIXELS.shape[1] * np.diff(edges))
    return float(slices.mean()), float(slices.min())


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
