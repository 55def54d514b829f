"""Pharynx and bolus: areas at rest and constriction, entry, transit, residue, contrast in the airway."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation, generate_binary_structure

from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError, Result
from bundle.metrics.kinematics.hyoid import HyoidMotion
from bundle.metrics.kinematics.spine_frame import SpineFrame

# A bolus is in the pharynx once it covers this many %(C2-4)² of it (about 0.7 mm²), more than touching outlines do.
ENTRY_AREA = 0.05
# Bolus this share of the C2-C4 length (about 1 mm) from the pharynx is in it still: a pool reaches beyond its mask.
RIM_SHARE = 0.04
# The pharynx at rest is this percentile of its area while the hyoid rests: a palate that rises early makes it less.
REST_PERCENTILE = 75.0
NEIGHBORS = generate_binary_structure(2, 1)  # the four neighbors


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


def rest_area_px(clip: ClipMasks, hyoid: HyoidMotion) -> tuple[float, int]:
    """Area while the hyoid rests before or after the swallow, and the number of these frames.

    ASPEKT takes the rest after the swallow; before it the soft palate may rise well before the hyoid does.
    """
    clip.require("pharynx")
    areas = clip.area("pharynx")[np.concatenate([hyoid.rest_frames, hyoid.later_rest_frames])]
    if not areas.any():
        raise NotComputableError("needs pharynx while the hyoid is at rest")
    return float(np.percentile(areas[areas > 0], REST_PERCENTILE)), int((areas > 0).sum())


def constriction(clip: ClipMasks) -> tuple[float, int, int]:
    """Smallest area, its frame, and how many frames show the pharynx.

    A frame without any pharynx does not count as a complete constriction: an unseen pharynx looks the same.
    """
    clip.require("pharynx")
    areas = clip.area("pharynx")
    frame = int(np.argmin(np.where(areas > 0, areas, np.inf)))
    return float(areas[frame]), frame, int((areas > 0).sum())


def area_result(area_px: float, num_frames: int, spine: SpineFrame) -> Result:
    """Area in %(C2-4)², ± what one pixel more in the C2-C4 length makes."""
    value = 100.0 * area_px / spine.length_px**2
    return value, 2.0 * value / spine.length_px, num_frames


def constriction_ratio(clip: ClipMasks, hyoid: HyoidMotion) -> Result:
    """Area at maximum constriction over area at rest."""
    smallest, _, num_frames = constriction(clip)
    return smallest / rest_area_px(clip, hyoid)[0], None, num_frames


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
    clip.require("pharynx")
    seen = closing_frame + np.flatnonzero(clip.is_present("pharynx")[closing_frame:])
    if not len(seen):
        raise NotComputableError("needs pharynx after the swallow")
    rim = max(1, round(RIM_SHARE * float(spine.length_px)))
    sums = np.median([_residue_and_space(clip, frame, rim) for frame in seen.tolist()], axis=0) * clip.pixel_aspect
    return Residue(float(sums[0]), float(sums[1]), len(seen))


def _residue_and_space(clip: ClipMasks, frame: int, rim: int) -> tuple[int, int]:
    """Pixels of the bolus in the pharynx, or within its rim and outside the airway's; and with the rest of the pharynx.

    Only the bolus' surroundings are looked at, as far as the rim reaches.
    """
    bolus, space = clip.mask("bolus", frame), clip.mask("pharynx", frame)
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
    return 100.0 * residue.area_px / residue.space_px, None, residue.num_frames


def residue_scale(residue: Residue, spine: SpineFrame) -> Result:
    """Normalized residue ratio scale, (R / space) · (R / L²) · 10 (Pearson et al. 2013), with the pharynx as space."""
    ratio = residue.area_px / residue.space_px
    return 10.0 * ratio * residue.area_px / spine.length_px**2, None, residue.num_frames
