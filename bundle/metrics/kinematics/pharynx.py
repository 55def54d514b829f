"""Pharyngeal area at rest and at maximum constriction, and what bolus stays in it."""

import numpy as np
from scipy.ndimage import binary_dilation, generate_binary_structure

from bundle.metrics.kinematics.clip_masks import ClipMasks
from bundle.metrics.kinematics.hyoid import HyoidMotion
from bundle.metrics.kinematics.measure import NotComputableError, Result
from bundle.metrics.kinematics.spine_frame import SpineFrame

RIM_SHARE = 0.04
"""Bolus this share of the C2-C4 length (about 1 mm) from the pharynx is in it still: a pool reaches beyond its mask."""

REST_PERCENTILE = 75.0
"""The pharynx at rest is this percentile of its area while the hyoid rests: a palate that rises early makes it less."""

NEIGHBOURS = generate_binary_structure(2, 1)[None]
"""The four neighbours, within a frame."""


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


def residue_px(clip: ClipMasks, closing_frame: int, spine: SpineFrame) -> tuple[float, float, int]:
    """Median area of residue and pharynx over the frames after the sphincter shut, and their number.

    Residue is bolus in the pharynx, or hardly outside it, as in a pool that reaches into the top of the sphincter, and
    not in the airway. Its space is the whole pharynx and itself, as valleculae and pyriform sinuses
    have no masks of their own.
    """
    clip.require("pharynx")
    space = clip.mask("pharynx")[closing_frame:]
    airway = (clip.mask("laryngeal_vestibule") | clip.mask("trachea"))[closing_frame:]
    rim = max(1, round(RIM_SHARE * float(spine.length_px)))
    near, near_airway = (binary_dilation(part, NEIGHBOURS, iterations=rim) for part in (space, airway))
    residue = clip.mask("bolus")[closing_frame:] & (space | near & ~near_airway) & ~airway
    seen = space.any(axis=(1, 2))
    if not seen.any():
        raise NotComputableError("needs pharynx after the swallow")
    sums = [np.median(clip.area_of(part[seen])) for part in (residue, space | residue)]
    return float(sums[0]), float(sums[1]), int(seen.sum())


def percent_full(clip: ClipMasks, closing_frame: int, spine: SpineFrame) -> Result:
    """Residue in % of the pharynx."""
    residue, space, num_frames = residue_px(clip, closing_frame, spine)
    return 100.0 * residue / space, None, num_frames


def residue_scale(clip: ClipMasks, closing_frame: int, spine: SpineFrame) -> Result:
    """Normalised residue ratio scale, (R / space) · (R / L²) · 10 (Pearson et al. 2013), with the pharynx as space."""
    residue, space, num_frames = residue_px(clip, closing_frame, spine)
    return 10.0 * residue / space * residue / spine.length_px**2, None, num_frames
