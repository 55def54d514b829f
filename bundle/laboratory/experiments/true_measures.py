"""The clinical measures of a phantom study worked out from its outlines and motion in millimeters, not from masks."""

from dataclasses import dataclass

import numpy as np
from skimage.measure import points_in_poly

from bundle.phantom.anatomy import build_anatomy
from bundle.phantom.channel import NUM_UES
from bundle.phantom.geometry import Points
from bundle.phantom.patient import Patient
from bundle.phantom.pose import Pose
from bundle.phantom.raster import Canvas
from bundle.phantom.study import PhantomStudy
from bundle.phantom.swallow import PHARYNX_END, Swallow, state_at

LONG_BEFORE_S = 60.0
"""Time before the swallow at which everything rests."""

SAME = 1.0 - 1e-9
"""Share of the largest displacement from which on a hyoid on its plateau is at its peak, whatever rounding does."""

SHARE, ROUNDING = 0.02, 1e-6

FINE_PIXELS_PER_MM = 10.0
"""Grid on which outlines are combined, finer than any frame's."""

SCAN_LINE_MM = 0.05
"""Distance of the lines that an outline's area is summed from."""


@dataclass(frozen=True)
class _Outlines:
    """Poses of a study's frames and at rest, in template millimeters."""

    frames: list[Pose]  # One per frame
    rest: Pose  # Long before the swallow
    scale: float  # True millimeters in one of the template


def true_events(study: PhantomStudy) -> dict[str, int]:
    """Frames of the events, named as in ``SwallowMeasures.events``; -1 where one is not in the study.

    An event's frame is the first that shows it, as in ASPEKT (Steele et al. 2019): of hyoid motion, of its peak, of
    bolus inside the pharynx's outline, of an open sphincter, and of one shut behind the bolus.
    """
    return _events(study, _outlines(study))


def true_measures(study: PhantomStudy) -> dict[str, float]:
    """Values by the names and in the units of ``measure_swallow``.

    Areas are those of the outlines, so they do not depend on a grid and count what a mask would hide behind other
    tissue. A sphincter's opening is how much further its walls are apart than when shut. Times are those of the frames
    in which the events fall.
    """
    outlines = _outlines(study)
    truth, events, times = study.kinematics, _events(study, outlines), study.frame_times_ms
    percent = 100.0 / truth.c2_c4_mm
    square = outlines.scale**2 * percent / truth.c2_c4_mm
    rest, onset, peak = (truth.hyoid_mm[frame] for frame in (0, events["hyoid_onset"], events["hyoid_peak"]))
    rest_area = square * _area(outlines.rest.pharynx)
    least_area = square * min(_area(pose.pharynx) for pose in outlines.frames)
    after = outlines.frames[events["ues_closing"] :]
    opening = max(_narrowest(pose) for pose in outlines.frames) - _narrowest(outlines.rest)
    rise_ms = times[events["hyoid_peak"]] - times[events["hyoid_onset"]]
    return {
        "c2_c4_length": truth.c2_c4_mm / study.pixel_spacing_mm[0],
        **_vector("hyoid_rest", percent, rest),
        **_vector("hyoid_peak", percent, peak),
        **_vector("hyoid_excursion", percent, peak - rest),
        "hyoid_speed": 1000.0 * percent * float(np.hypot(*(peak - onset)) / rise_ms),
        "pharyngeal_area_rest": rest_area,
        "pharyngeal_area_constriction": least_area,
        "pharyngeal_constriction_ratio": least_area / rest_area,
        "ues_maximal_width": percent * outlines.scale * opening,
        "ues_opening_duration": float(times[events["ues_closing"]] - times[events["ues_opening"]]),
        "pharyngeal_transit": float(times[events["ues_closing"]] - times[events["bolus_enters_pharynx"]]),
        "residue": square * float(np.median([_residue(pose) for pose in after])),
        "bolus_in_airway": float(np.count_nonzero(truth.bolus_in_airway)),
    }


def tolerances(study: PhantomStudy, truth: dict[str, float]) -> dict[str, float]:
    """What counts as right, by measure of ``true_measures``: 2% of the truth, or one frame where time is counted.

    A coordinate is held to 2% of the whole vector, since its own share may be close to nothing; a speed to 2% of its
    distance and one frame of its duration.
    """
    kinematics, interval_ms = study.kinematics, float(np.median(np.diff(study.frame_times_ms)))
    rise = kinematics.hyoid_peak_frame - kinematics.hyoid_onset_frame
    one_frame = {
        "ues_opening_duration": interval_ms,
        "pharyngeal_transit": interval_ms,
        "bolus_in_airway": 1.0,
        "hyoid_speed": truth["hyoid_speed"] * ((1 + SHARE) * rise / max(rise - 1, 1) - 1),
    }
    whole = {name: f"{name[:-2]}_xy" if name.endswith(("_x", "_y")) else name for name in truth}
    return {name: max(SHARE * abs(truth[whole[name]]), one_frame.get(name, 0.0)) + ROUNDING for name in truth}


def _vector(name: str, percent: float, value: np.ndarray) -> dict[str, float]:
    x, y = value
    return {
        f"{name}_x": percent * float(x),
        f"{name}_y": percent * float(y),
        f"{name}_xy": percent * float(np.hypot(x, y)),
    }


def _outlines(study: PhantomStudy) -> _Outlines:
    patient, swallow = Patient(**study.description["patient"]), Swallow(**study.description["swallow"])
    anatomy = build_anatomy(patient)
    times = [-LONG_BEFORE_S, *study.kinematics.time_s]
    rest, *frames = (Pose(anatomy, swallow, state_at(swallow, float(time))) for time in times)
    return _Outlines(frames, rest, patient.scale)


def _events(study: PhantomStudy, outlines: _Outlines) -> dict[str, int]:
    truth = study.kinematics
    moved = np.linalg.norm(truth.hyoid_mm - truth.hyoid_mm[0], axis=1)
    entered = [any(points_in_poly(part, pose.pharynx).any() for part in pose.lumen) for pose in outlines.frames]
    return {
        "hyoid_onset": truth.hyoid_onset_frame,
        "hyoid_peak": int(np.argmax(moved >= SAME * moved.max())),
        "pharyngeal_constriction": int(np.argmin([_area(pose.pharynx) for pose in outlines.frames])),
        "bolus_enters_pharynx": entered.index(True) if any(entered) else -1,
        "ues_opening": truth.ues_opening_frame,
        "ues_closing": truth.ues_closing_frame,
    }


def _area(outline: Points) -> float:
    """Area inside an outline, which may cross itself (even-odd): lengths of scan lines inside, times their distance."""
    start, end = outline, np.roll(outline, -1, axis=0)
    lines = np.arange(outline[:, 1].min(), outline[:, 1].max(), SCAN_LINE_MM)[:, None]
    line, edge = np.nonzero((start[:, 1] <= lines) != (end[:, 1] <= lines))
    share = (lines[line, 0] - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    x = start[edge, 0] + share * (end[edge, 0] - start[edge, 0])
    x = x[np.lexsort((x, line))]  # in pairs: into the outline and out of it
    return SCAN_LINE_MM * float((x[1::2] - x[::2]).sum())


def _residue(pose: Pose) -> float:
    """Area of the pools, and of contrast that reaches from the airway into the pharynx."""
    pools = sum(map(_area, pose.residue))
    if not pose.airway_bolus:
        return pools
    low, high = pose.pharynx.min(axis=0), pose.pharynx.max(axis=0)
    canvas = Canvas(
        int(np.ceil((high - low).max() * FINE_PIXELS_PER_MM)), FINE_PIXELS_PER_MM * np.eye(2), -low * FINE_PIXELS_PER_MM
    )
    inside = canvas.mask(pose.pharynx) * canvas.mask(*pose.airway_bolus)
    airway = canvas.mask(pose.trachea, *([] if pose.vestibule is None else [pose.vestibule]))
    beside = inside * (1 - airway) * (1 - canvas.mask(*pose.residue))
    return pools + float(beside.sum()) / FINE_PIXELS_PER_MM**2


def _narrowest(pose: Pose) -> float:
    """Smallest distance of the walls along the sphincter."""
    first = int(np.searchsorted(pose.channel.station, PHARYNX_END))
    return float(pose.channel.gap[first : first + NUM_UES].min())
