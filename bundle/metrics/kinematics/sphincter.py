"""Opening of the upper oesophageal sphincter (UES), by its mask's width, finer than a pixel."""

import math
from dataclasses import dataclass

import numpy as np

from bundle.metrics.kinematics.body import body_pixels, true_runs, without_spikes
from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError, Result
from bundle.metrics.kinematics.spine_frame import SpineFrame

UES = "upper_oesophageal_sphincter"
# Open is at least this many %C2-4 (about 0.25 mm) wider than shut, half a pixel, and three times the noise.
LEAST_VISIBLE = 0.65
CORE_SHARE = 0.5  # an opening is told by what is wider than this share of the widest
GAP_FRAMES = 2  # of the core; one that is longer parts two openings
SHUT_SHARE = 0.35  # what is never narrower than this share of the widest, before or after, is not seen shut there
# A network's masks widen slowly before an opening and narrow slowly after it, by a tenth of the widest; the flanks of a
# true opening are steep. The opening starts and ends where the line through these shares of the widest meets zero.
FLANK_SHARES = (0.4, 0.8)
NEARLY_SHUT_SHARE = 0.2  # frames up to this share of the widest opening tell the noise of what is shut
# Frames with at least this share of the widest opening are the widest, a plateau rather than a moment.
WIDEST_SHARE = 0.97
LEAST_OPENING = 3.0  # an opening below this many %C2-4 (about 1 mm) is not told from a shut sphincter
# Patients after a stroke open it for 620 ms, sd 160 (doi 10.1155/2021/5520657, table 2): nothing is five sd longer.
SHORTEST_MS, LONGEST_MS = 60.0, 1500.0
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
    shut, which is told before and after by themselves: a mask may come back wider than it was. Widths are taken in the
    middle half of its height, at right angles to its own axis: the mean, which is the steadier one, tells open from
    shut and where the plateau of the widest opening is; the opening there is measured at the narrowest place, as in
    ASPEKT. The sphincter is open between the feet of the opening's flanks, at most until it is shut for more than a
    frame.
    """
    clip.require(UES)
    frames = np.flatnonzero(clip.is_present(UES) & np.isfinite(spine.c4[:, 0]))
    if not len(frames):
        raise NotComputableError(f"needs {UES}, c2 and c4 in one frame")
    profiles = [width_profile(clip.mask(UES, int(frame)), spine.up[frame], clip.pixel_aspect) for frame in frames]
    widths = np.array([profile.widths for profile in profiles]) * 100.0 / spine.length_px
    mean = without_spikes(widths.mean(axis=1))
    shut_width, core = _shut_width(mean)
    opening = mean - shut_width
    is_shut = opening <= _least(widths.mean(axis=1) - shut_width, core, 0.5 * spine.one_pixel)
    before, after = np.flatnonzero(is_shut[: core[0]]), core[1] + np.flatnonzero(is_shut[core[1] :])
    widest = core[0] + int(opening[slice(*core)].argmax())
    opened = widest - _foot(opening[before[-1] : widest + 1][::-1])
    closed = widest + _foot(opening[widest : after[0] + 1]) if len(after) else None
    plateau = np.arange(*core)[opening[slice(*core)] >= WIDEST_SHARE * opening[widest]]
    crossed = np.median(np.array([profile.crossed_pixels for profile in profiles])[plateau])
    found = Opening(
        width=float(narrowest(np.median(widths[plateau], axis=0)) - np.median(shut_width[plateau])),
        opening_frame=int(frames[math.floor(opened) + 1]),
        widest_frame=int(frames[plateau[0]]),
        closing_frame=None if closed is None else int(frames[math.ceil(closed)]),
        num_frames=len(frames),
        is_along_grid=bool(crossed < CROSSED_PIXELS),
    )
    _check_duration(found, clip)
    return found


def _shut_width(widths: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Width when shut at each time ``(T,)``, in %C2-4, and the core of the largest opening, first and after the last.

    Shut is the median of the frames before the core, and of those after it, that are about as narrow as their narrower
    half, if that is narrow.
    """
    rough = widths - np.percentile(widths, 10)
    if rough.max() < LEAST_OPENING:
        raise NotComputableError(f"needs frames with the {UES} shut and open")
    cores: list[tuple[int, int]] = []
    for first, stop in true_runs(rough > CORE_SHARE * rough.max()):
        joined = cores.pop() if cores and first - cores[-1][1] <= GAP_FRAMES else (first, stop)
        cores.append((joined[0], stop))
    first, stop = max(cores, key=lambda core: float(rough[slice(*core)].sum()))
    shut = []
    for side in (rough[:first], rough[stop:]):
        narrower = np.median(np.sort(side)[: (len(side) + 1) // 2]) if len(side) else np.inf
        resting = side[side <= narrower + NEARLY_SHUT_SHARE * rough.max()]
        is_seen = narrower <= SHUT_SHARE * rough.max()
        shut.append(float(np.median(resting) + np.percentile(widths, 10)) if is_seen else np.nan)
    if np.isnan(shut[0]):
        raise NotComputableError(f"needs frames before the {UES} opens")
    ends = [shut[0], shut[0] if np.isnan(shut[1]) else shut[1]]
    return np.interp(np.arange(len(widths)), [first, stop - 1], ends), (first, stop)


def _least(opening: np.ndarray, core: tuple[int, int], half_pixel: float) -> float:
    """Opening in %C2-4 that is told from a shut sphincter."""
    outside = np.concatenate([opening[: core[0]], opening[core[1] :]])
    widest = float(opening[slice(*core)].max())
    resting = outside[outside <= NEARLY_SHUT_SHARE * widest]
    noise = MAD_TO_DEVIATION * np.median(abs(resting - np.median(resting))) if len(resting) else 0.0
    return float(min(max(LEAST_VISIBLE, half_pixel, 3.0 * noise), 0.5 * widest))


def _foot(flank: np.ndarray) -> float:
    """Frames from the widest, the first of ``flank`` ``(T,)``, to where its steep part is shut, as the last is."""
    low, high = (_crossing(flank, share * flank[0]) for share in FLANK_SHARES)
    foot = low + (low - high) * FLANK_SHARES[0] / (FLANK_SHARES[1] - FLANK_SHARES[0])
    return min(foot, len(flank) - 1.0)


def _crossing(flank: np.ndarray, level: float) -> float:
    """Frames from the first of ``flank`` ``(T,)`` to where it falls to ``level`` for good."""
    last = int(np.flatnonzero(flank > level)[-1])
    if last == len(flank) - 1:
        return float(last)
    return float(last + (flank[last] - level) / (flank[last] - flank[last + 1]))


def _check_duration(opening: Opening, clip: ClipMasks) -> None:
    """Refuse what cannot be the opening of one swallow."""
    if clip.times_ms is None or opening.closing_frame is None:
        return
    duration = clip.milliseconds(opening.opening_frame, opening.closing_frame)
    if not SHORTEST_MS <= duration <= LONGEST_MS:
        raise NotComputableError(
            f"needs masks that tell the {UES} open from shut: it seems open for {duration:.0f} ms, which no swallow is"
        )


def width_result(opening: Opening) -> Result:
    """Widest opening."""
    return opening.width, opening.num_frames


def duration_result(opening: Opening, clip: ClipMasks) -> Result:
    """Time from opening to closing."""
    return clip.milliseconds(opening.opening_frame, closing_frame(opening)), opening.num_frames


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
    rows, columns = body_pixels(mask)
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
