"""Pharynx and bolus: areas at rest and constriction, entry, transit, residue, contrast in the airway."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation, generate_binary_structure

from bundle.metrics.kinematics.body import true_runs, without_spikes
from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError, Result
from bundle.metrics.kinematics.hyoid import HyoidMotion
from bundle.metrics.kinematics.spine_frame import SpineFrame

# A bolus is in the pharynx once it covers this many %(C2-4)² of it (about 0.7 mm²), more than touching outlines do.
ENTRY_AREA = 0.05
# What lies there before is the least that lies there in this percentage of the frames before the sphincter opens.
BEFORE_PERCENTILE = 10.0
NEARLY_SAME = 0.1  # of the rise above that: still what lay there
LEAST_EMPTY = 3  # frames in a row without it: fewer are masks that lose it for a moment
LEAST_ENTRY = 0.5  # %(C2-4)² by which a bolus that enters is more than what lay there
# A pharynx below this share of its area in both neighboring frames is not narrow but lost.
LOST_SHARE = 0.6
NEAR_PEAK_MS = 1000.0  # about the hyoid's peak: when the pharynx is narrowest
# Bolus this share of the C2-C4 length (about 1 mm) from the pharynx is in it still: a pool reaches beyond its mask.
RIM_SHARE = 0.04
# The pharynx at rest is this percentile of its area while the hyoid rests: a palate that rises early makes it less.
REST_PERCENTILE = 75.0
PHARYNX = "pharynx"
NEIGHBORS = generate_binary_structure(2, 1)  # the four neighbors


def entry_frame(clip: ClipMasks, spine: SpineFrame, opening_frame: int) -> int:
    """First frame of the run with bolus in the pharynx that lasts until the sphincter opens.

    Frames without a pharynx count as not seen: they neither start nor end the run. Contrast that lay there before, such
    as residue of an earlier swallow, does not count.
    """
    clip.require("bolus", PHARYNX)
    seen = np.flatnonzero(clip.is_present(PHARYNX)[: opening_frame + 1])
    if not len(seen):
        raise NotComputableError("needs pharynx before the upper_oesophageal_sphincter opens")
    inside = clip.areas_of(lambda frame: clip.mask("bolus", frame) & clip.mask(PHARYNX, frame), seen)
    area = without_spikes(100.0 * inside / spine.length_px**2)
    earlier = float(np.percentile(area, BEFORE_PERCENTILE))
    resting = area[area <= earlier + NEARLY_SAME * (area.max() - earlier)]
    least = max(LEAST_ENTRY, 3.0 * float(np.std(resting))) if earlier else ENTRY_AREA
    there = area >= earlier + least
    if not there.any():
        raise NotComputableError("needs bolus in the pharynx before the upper_oesophageal_sphincter opens")
    last = int(np.flatnonzero(there)[-1])
    empty = [stop for first, stop in true_runs(~there[:last]) if first == 0 or stop - first >= LEAST_EMPTY]
    if not empty:
        raise NotComputableError("needs frames before the bolus enters the pharynx")
    return int(seen[empty[-1]])


def transit_result(clip: ClipMasks, first: int, last: int) -> Result:
    """Time from the bolus' entry into the pharynx until the sphincter shuts behind it."""
    return clip.milliseconds(first, last), clip.num_frames


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
    return float(len(airway_frames(clip))), clip.num_frames


def rest_area_px(clip: ClipMasks, hyoid: HyoidMotion) -> tuple[float, int]:
    """Area while the hyoid rests before or after the swallow, and the number of these frames.

    ASPEKT takes the rest after the swallow; before it the soft palate may rise well before the hyoid does.
    """
    clip.require(PHARYNX)
    areas = clip.area(PHARYNX)[np.concatenate([hyoid.rest_frames, hyoid.later_rest_frames])]
    if not areas.any():
        raise NotComputableError("needs pharynx while the hyoid is at rest")
    return float(np.percentile(areas[areas > 0], REST_PERCENTILE)), int((areas > 0).sum())


def constriction(clip: ClipMasks, peak_frame: int | None = None) -> tuple[float, int, int]:
    """Smallest area, its frame, and how many frames show the pharynx.

    It is looked for about the hyoid's peak, where that is known. A frame without any pharynx does not count as a
    complete constriction: an unseen pharynx looks the same. Nor does one in which most of it is gone for a moment.
    """
    clip.require(PHARYNX)
    shown = np.flatnonzero(clip.area(PHARYNX) > 0)
    if peak_frame is not None and clip.times_ms is not None:
        near = shown[abs(clip.times_ms[shown] - clip.times_ms[peak_frame]) <= NEAR_PEAK_MS]
        shown = near if len(near) else shown
    areas = clip.area(PHARYNX)[shown]
    around = np.pad(areas, 1, mode="reflect") if len(areas) > 1 else np.repeat(areas, 3)
    lost = areas < LOST_SHARE * np.minimum(around[:-2], around[2:])
    best = int(np.argmin(np.where(lost, np.inf, areas)))
    return float(areas[best]), int(shown[best]), len(shown)


def area_result(area_px: float, num_frames: int, spine: SpineFrame) -> Result:
    """Area in %(C2-4)²."""
    return 100.0 * area_px / spine.length_px**2, num_frames


def constriction_ratio(clip: ClipMasks, hyoid: HyoidMotion) -> Result:
    """Area at maximum constriction over area at rest."""
    smallest, _, num_frames = constriction(clip, hyoid.peak_frame)
    return smallest / rest_area_px(clip, hyoid)[0], num_frames


class Residue(NamedTuple):
    """What stays after the swallow: medians over frames."""

    area_px: float  # of the residue
    space_px: float  # of the pharynx and the residue together
    num_frames: int  # that show the pharynx


def find_residue(clip: ClipMasks, closing_frame: int, spine: SpineFrame) -> Residue:
    """Residue in the frames after the sphincter shut.

    Residue is bolus in the pharynx, or hardly outside it, as in a pool that reaches into the top of the sphincter, and
    not in the airway. Its space is the whole pharynx and itself, as valleculae and pyriform sinuses
    have no masks of their own.
    """
    clip.require(PHARYNX)
    seen = closing_frame + np.flatnonzero(clip.is_present(PHARYNX)[closing_frame:])
    if not len(seen):
        raise NotComputableError("needs pharynx after the swallow")
    rim = max(1, round(RIM_SHARE * float(spine.length_px)))
    sums = np.median([_residue_and_space(clip, frame, rim) for frame in seen.tolist()], axis=0) * clip.pixel_aspect
    return Residue(float(sums[0]), float(sums[1]), len(seen))


def _residue_and_space(clip: ClipMasks, frame: int, rim: int) -> tuple[int, int]:
    """Pixels of the bolus in the pharynx, or within its rim and outside the airway's; and with the rest of the pharynx.

    Only the bolus' surroundings are looked at, as far as the rim reaches.
    """
    bolus, space = clip.mask("bolus", frame), clip.mask(PHARYNX, frame)
    if not bolus.any():
        return 0, int(space.sum())
    box = tuple(
        slice(max(0, int(pixels[0]) - rim), int(pixels[-1]) + rim + 1)
        for pixels in (np.flatnonzero(bolus.any(axis=axis)) for axis in (1, 0))
    )
    near_bolus, near_space, air = bolus[box], space[box], airway(clip, frame)[box]
    rims = [binary_dilation(part, NEIGHBORS, iterations=rim) for part in (near_space, air)]
    residue = near_bolus & (near_space | rims[0] & ~rims[1]) & ~air
    return int(residue.sum()), int(space.sum() + (residue & ~near_space).sum())


def percent_full(residue: Residue) -> Result:
    """Residue in % of the pharynx."""
    return 100.0 * residue.area_px / residue.space_px, residue.num_frames


def residue_scale(residue: Residue, spine: SpineFrame) -> Result:
    """Normalized residue ratio scale, (R / space) · (R / L²) · 10 (Pearson et al. 2013), with the pharynx as space."""
    ratio = residue.area_px / residue.space_px
    return 10.0 * ratio * residue.area_px / spine.length_px**2, residue.num_frames
