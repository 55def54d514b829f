"""What the report plots over time: the hyoid's place, areas, bolus in pharynx and airway."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np

from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError, or_none
from bundle.metrics.kinematics.hyoid import find_hyoid_motion, hyoid_track
from bundle.metrics.kinematics.pharynx import airway
from bundle.metrics.kinematics.spine_frame import SpineFrame, find_spine_frame
from bundle.metrics.reliability import human_reliability

AREAS = ("pharynx", "bolus", "laryngeal_vestibule", "upper_oesophageal_sphincter")
MOST_AREAS = 4
HYOID, BOLUS = "hyoid", "bolus"
# Of the plots, by key, in the page's order.
TITLES = {"hyoid": "Hyoid from C4", "areas": "Areas", "bolus": "Where the bolus is"}
Values = list[float | None]


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    structure: str  # the structure whose color the line has
    values: Values  # one per frame; None where there is none
    label: str = ""  # in words; empty: the structure's
    code: str = ""  # one letter at the line's end; empty: the structure's
    band: float | None = None  # half-width of what people err by, in the plot's unit; None where none is known


@dataclass(frozen=True)
class Plot:
    """Curves that share an axis, or the reason why there are none."""

    key: str  # identifier in the page
    title: str  # heading
    unit: str  # of all curves, as printed
    curves: list[Curve] = field(default_factory=list)  # lines
    reason: str = ""  # ``not computable: needs X`` where there are no curves, else empty


@dataclass(frozen=True)
class Curves:
    """All plots of a clip."""

    plots: list[Plot]  # in the page's order; ``hyoid`` comes first
    # Of each swallow, a frame in which the hyoid rests before it; None where it is not found
    rest_frames: list[int | None]


def swallow_curves(clip: ClipMasks, windows: Sequence[tuple[int, int]] = ()) -> Curves:
    """Work out the curves of a film and the rest before each swallow; what is missing becomes a plot's reason."""
    find_spine = cache(lambda: find_spine_frame(clip))
    spine = or_none(find_spine)
    pixels = "pixels" if clip.pixel_aspect == 1 else "(pixel width)²"
    unit, scale = ("% (C2–4)²", 100.0 / spine.length_px**2) if spine else (pixels, 1.0)
    plots = [
        _plot("hyoid", "% C2–4", lambda: _hyoid(clip, find_spine)),
        _plot("areas", unit, lambda: _areas(clip, scale)),
        _plot("bolus", unit, lambda: _bolus(clip, scale)),
    ]
    return Curves(plots, [or_none(partial(_rest_frame, clip, spine, *window)) for window in windows])


def refused_curves(reason: str) -> Curves:
    """The same plots without curves."""
    plots = [Plot(key, title, "", reason=reason) for key, title in TITLES.items()]
    return Curves(plots, [])


def _hyoid(clip: ClipMasks, find_spine: Callable[[], SpineFrame]) -> list[Curve]:
    """The track that is measured: a frame in which the hyoid jumps out of its way is a gap, too."""
    clip.require(HYOID)
    frames, points = hyoid_track(clip, find_spine())
    position = np.full((clip.num_frames, 2), np.nan)
    position[frames] = points
    forward, up = _values(position[:, 0]), _values(position[:, 1])
    bands = [human_reliability(f"hyoid_peak_{axis}").limit for axis in "xy"]
    return [Curve(HYOID, forward, "Forward", "→", bands[0]), Curve(HYOID, up, "Up", "↑", bands[1])]


def _areas(clip: ClipMasks, scale: float) -> list[Curve]:
    """Of the pharynx and what opens into it; of the first structures where a site has none of these."""
    names = [name for name in AREAS if name in clip.structures] or list(clip.structures[:MOST_AREAS])
    shown = [name for name in names if clip.is_present(name).any()]
    if not shown:
        raise NotComputableError(f"needs one of {', '.join(names)}")
    return [Curve(name, _values(clip.area(name) * scale)) for name in shown]


def _bolus(clip: ClipMasks, scale: float) -> list[Curve]:
    """Bolus that shares pixels with the pharynx, and with vestibule or trachea."""
    clip.require(BOLUS)
    has_trachea = clip.is_present("trachea").any()
    curves = []
    if clip.is_present("pharynx").any():
        area = clip.areas_of(lambda frame: clip.mask(BOLUS, frame) & clip.mask("pharynx", frame))
        curves.append(Curve("pharynx", _values(area * scale), "In the pharynx", "P"))
    if has_trachea or clip.is_present("laryngeal_vestibule").any():
        area = clip.areas_of(lambda frame: clip.mask(BOLUS, frame) & airway(clip, frame))
        structure = "trachea" if has_trachea else "laryngeal_vestibule"
        curves.append(Curve(structure, _values(area * scale), "In the airway", "A"))
    if not curves:
        raise NotComputableError("needs pharynx, laryngeal_vestibule or trachea")
    return curves


def _rest_frame(clip: ClipMasks, spine: SpineFrame | None, first: int, stop: int) -> int:
    if spine is None:
        raise NotComputableError("needs c2 and c4")
    frames = find_hyoid_motion(clip.part(first, stop), spine.part(first, stop)).rest_frames
    return first + int(frames[len(frames) // 2])


def _plot(key: str, unit: str, work_out: Callable[[], list[Curve]]) -> Plot:
    try:
        return Plot(key, TITLES[key], unit, work_out())
    except NotComputableError as error:
        return Plot(key, TITLES[key], unit, reason=f"not computable: {error}")


def _values(values: np.ndarray | Sequence[float]) -> Values:
    """Rounded to what a plot can show."""
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]
