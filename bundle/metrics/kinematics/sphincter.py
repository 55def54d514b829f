"""Opening of the upper oesophageal sphincter (UES), by its mask's width, finer than a pixel."""

from dataclasses import dataclass

import numpy as np

from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError, Result
from bundle.metrics.kinematics.spine_frame import SpineFrame

UES = "upper_oesophageal_sphincter"
# Open is at least this many %C2-4 (about 0.25 mm) wider than shut, half a pixel, and three times the noise.
LEAST_VISIBLE = 0.65
NEARLY_SHUT_SHARE = 0.2  # frames up to this share of the widest opening tell what shut is, by their median
# Frames with at least this share of the widest opening are the widest, a plateau rather than a moment.
WIDEST_SHARE = 0.97
LEAST_OPENING = 3.0  # an opening below this many %C2-4 (about 1 mm) is not told from a shut sphincter
CROSSED_PIXELS = 1.5  # a sphincter whose axis crosses fewer lines of pixels stands along the grid
MAD_TO_DEVIATION = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
# Offsets (x, y) of nine points in a pixel from its center.
SUB_PIXELS = np.stack(np.meshgrid([-1 / 3, 0.0, 1 / 3], [-1 / 3, 0.0, 1 / 3])).reshape(2, 9)
NUM_SLICES = 6
MIDDLE = (0.25, 0.75)  # part of the mask's height that is measured: its ends belong to what lies above and below
NUM_TURNS = 2


@dataclass(frozen=True)
class Opening:
    """One opening of the sphincter."""

    width: float  # widest opening in %C2-4, the median over its plateau
    opening_frame: int  # first open frame
    widest_frame: int  # first frame of that plateau
    closing_frame: int | None  # first shut frame after it; None where the clip ends before
    num_frames: int  # number of frames that show the sphincter with C2 and C4; no other frame is used
    # Whether its walls run along the pixels' rows or columns, so its width is known to a pixel
    is_along_grid: bool = False


def find_opening(clip: ClipMasks, spine: SpineFrame) -> Opening:
    """Find the widest opening and the frames around it.

    The mask of a shut sphincter is its two walls in contact, so an opening is the mask's width less its width when
    shut. Widths are taken in the middle half of its height, at right angles to its own axis: the mean, which
    is the steadier one, tells open from shut and where the plateau of the widest opening is; the opening there is
    measured at the narrowest place, as in ASPEKT.
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


@dataclass(frozen=True)
class WidthProfile:
    """Widths of the middle half of a mask."""

    widths: np.ndarray  # mean width of each slice from one end to the other ``(6,)``, in widths of a pixel
    # How many lines of pixels the mask's axis crosses over these slices. With less than one or two, straight walls run
    # along the grid and a width is known to a whole pixel only
    crossed_pixels: float


def width_profile(mask: np.ndarray, up: np.ndarray, pixel_aspect: float = 1.0) -> WidthProfile:
    """Widths of slices across a mask: area over height of each, at right angles to its axis.

    The axis starts as ``up`` and is turned to the line through the middles of the slices.

    Args:
        mask: ``(H, W)`` bool, not empty.
        up: Unit vector (x, y) ``(2,)`` roughly along the mask.
        pixel_aspect: Height of a pixel divided by its width.
    """
    rows, columns = np.nonzero(mask)
    stretch = np.array([1.0, pixel_aspect])[:, None, None]
    points = (np.stack([columns, rows])[:, :, None] + SUB_PIXELS[:, None, :]) * stretch
    points = points.reshape(2, -1)
    axis = np.asarray(up, float)
    for _ in range(NUM_TURNS):
        axis = _turned(axis, points)
    edges = _edges(axis @ points, axis, pixel_aspect)
    counts = np.histogram(axis @ points, edges)[0]
    span = edges[-1] - edges[0]
    crossed = span * min(abs(axis[0]), abs(axis[1]) / pixel_aspect)
    return WidthProfile(counts * pixel_aspect / (SUB_PIXELS.shape[1] * np.diff(edges)), float(crossed))


def narrowest(widths: np.ndarray) -> float:
    """Smallest width of a profile ``(6,)``, on the parabola that fits it best: every slice has a say."""
    place = np.linspace(-1.0, 1.0, len(widths))
    return float(np.polyval(np.polyfit(place, widths, 2), np.linspace(-1.0, 1.0, 41)).min())


def _edges(along: np.ndarray, axis: np.ndarray, pixel_aspect: float) -> np.ndarray:
    """Edges of the slices of the middle; ``along`` are the points' places along the axis."""
    margin = (abs(axis[0]) + abs(axis[1]) * pixel_aspect) / 6  # from the outermost points to the pixels' corners
    low, high = along.min() - margin, along.max() + margin
    return low + (high - low) * np.linspace(*MIDDLE, NUM_SLICES + 1)


def _turned(axis: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The axis turned along the points' middles, over the middle of their height."""
    across = np.array([-axis[1], axis[0]])
    along = axis @ points
    middle = (along >= np.quantile(along, MIDDLE[0])) & (along <= np.quantile(along, MIDDLE[1]))
    offset = along[middle] - along[middle].mean()
    spread = float((offset**2).sum())
    slope = float(offset @ (across @ points[:, middle])) / spread if spread > 0 else 0.0
    turned = axis + slope * across
    return turned / np.linalg.norm(turned)
