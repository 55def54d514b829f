"""All measures of one swallow from its masks, after ASPEKT (Steele et al. 2019) and shown with what each one needs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

from numpy.typing import ArrayLike

from bundle.metrics.kinematics import hidden, hyoid, pharynx, sphincter
from bundle.metrics.kinematics.clip_masks import (
    ClipMasks,
    MaskFrames,
    Measure,
    Result,
    SwallowMeasures,
    attempt,
    or_none,
)
from bundle.metrics.kinematics.spine_frame import SpineFrame, find_spine_frame
from bundle.structures import STRUCTURES

SLOWEST_FRAME_RATE = 29.5  # frames per second; 29.97 counts as 30

USED = ("bolus", "hyoid", "pharynx", "laryngeal_vestibule", "trachea", "upper_oesophageal_sphincter", "c2", "c4")


def measure_swallow(
    masks: ArrayLike | MaskFrames,
    frame_times_ms: ArrayLike | None,
    structures: Sequence[str] = STRUCTURES,
    pixel_aspect: float = 1.0,
    visible: ArrayLike | None = None,
) -> SwallowMeasures:
    """Measure one swallow.

    Only frames that show a structure are used, and nothing is interpolated: an event in a gap is dated to a
    frame beside it. ``num_frames`` and the warnings say how many they are. Lengths are in % of the distance between the
    anterior-inferior corners of C2 and C4, so no pixel spacing is needed, only the pixels' shape. Not a diagnosis, and
    no PAS score.

    Args:
        masks: Binary masks ``(T, S, H, W)`` of one swallow in lateral view, facing either way.
        frame_times_ms: Time of each frame ``(T,)``; None where it is unknown: no timings and no speed then.
        structures: Names of the S channels.
        pixel_aspect: Height of a pixel divided by its width, as in ``Clip``; 1 for square pixels.
        visible: Bool ``(H, W)``, false behind a shutter or collimator, as ``visible_field`` finds it; None: all of the
            frame. A structure that reaches its edge, or the frame's, may be hidden in part and is warned about.

    Returns:
        Every measure, with the reason where it is not computable.

    Raises:
        ValueError: If the masks, times, aspect or visible part are malformed.
    """
    clip = ClipMasks(masks, frame_times_ms, structures, pixel_aspect)
    about_film = film_warnings(clip, visible)
    measures = measure_part(clip, cache(lambda: find_spine_frame(clip)))
    return replace(measures, warnings=(*about_film, *measures.warnings))


def measure_part(
    clip: ClipMasks, spine: Callable[[], SpineFrame], frames: tuple[int, int] | None = None
) -> SwallowMeasures:
    """Measure the swallow in some frames of a film, in the axes of the film's spine; its events count as the film's."""
    first, stop = frames or (0, clip.num_frames)
    part = clip if (first, stop) == (0, clip.num_frames) else clip.part(first, stop)
    swallow = _Swallow(part, lambda: spine().part(first, stop))
    measures = [attempt(name, unit, work_out) for name, unit, work_out in swallow.table()]
    airway = or_none(lambda: tuple(first + int(frame) for frame in pharynx.airway_frames(part)))
    return SwallowMeasures(
        {m.name: m for m in measures},
        {name: first + frame for name, frame in swallow.events().items()},
        airway or (),
        (*_warnings(part, measures), *swallow.warnings()),
        (first, stop),
    )


class _Swallow:
    """Parts that several measures share, each worked out once; a call raises NotComputableError where it is missing."""

    def __init__(self, clip: ClipMasks, spine: Callable[[], SpineFrame]) -> None:
        self.clip = clip
        self.spine = cache(spine)
        self.hyoid = cache(lambda: hyoid.find_hyoid_motion(clip, self.spine()))
        self.opening = cache(lambda: sphincter.find_opening(clip, self.spine()))
        self.closing = cache(lambda: sphincter.closing_frame(self.opening()))
        self.constriction = cache(lambda: pharynx.constriction(clip, or_none(lambda: self.hyoid().peak_frame)))
        self.residue = cache(lambda: pharynx.find_residue(clip, self.closing(), self.spine()))
        self.entry = cache(lambda: pharynx.entry_frame(clip, self.spine(), self.opening().opening_frame))

    def table(self) -> list[tuple[str, str, Callable[[], Result]]]:
        """Name, unit and function of every measure."""
        clip, spine = self.clip, self.spine
        return [
            ("c2_c4_length", "pixels", lambda: (spine().length_px, spine().num_frames)),
            *self._positions(),
            ("hyoid_speed", "%C2-4/s", lambda: hyoid.speed_result(self.hyoid(), clip)),
            ("pharyngeal_area_rest", "%(C2-4)^2", lambda: self._area(*pharynx.rest_area_px(clip, self.hyoid()))),
            ("pharyngeal_area_constriction", "%(C2-4)^2", lambda: self._area(*self.constriction()[::2])),
            ("pharyngeal_constriction_ratio", "1", lambda: pharynx.constriction_ratio(clip, self.hyoid())),
            ("ues_maximal_width", "%C2-4", lambda: sphincter.width_result(self.opening())),
            ("ues_opening_duration", "ms", lambda: sphincter.duration_result(self.opening(), clip)),
            ("pharyngeal_transit", "ms", lambda: pharynx.transit_result(clip, self.entry(), self.closing())),
            ("residue", "%(C2-4)^2", lambda: self._area(self.residue().area_px, self.residue().num_frames)),
            ("residue_percent_full", "%", lambda: pharynx.percent_full(self.residue())),
            ("nrrs_pharynx", "1", lambda: pharynx.residue_scale(self.residue(), spine())),
            ("bolus_in_airway", "frames", lambda: pharynx.airway_result(clip)),
        ]

    def _positions(self) -> list[tuple[str, str, Callable[[], Result]]]:
        """Hyoid at rest, at its peak, and the displacement between them."""

        def result(which: str, axis: str) -> Result:
            motion = self.hyoid()
            vector = {"rest": motion.rest, "peak": motion.peak, "excursion": motion.peak - motion.rest}[which]
            return hyoid.position_result(vector, axis, motion.num_frames)

        return [
            (f"hyoid_{which}_{axis}", "%C2-4", partial(result, which, axis))
            for which in ("rest", "peak", "excursion")
            for axis in hyoid.AXES
        ]

    def _area(self, area_px: float, num_frames: int) -> Result:
        return pharynx.area_result(area_px, num_frames, self.spine())

    def events(self) -> dict[str, int]:
        """Frames of what was found."""
        frames = {
            "hyoid_onset": or_none(lambda: self.hyoid().onset_frame),
            "hyoid_peak": or_none(lambda: self.hyoid().peak_frame),
            "pharyngeal_constriction": or_none(lambda: self.constriction()[1]),
            "bolus_enters_pharynx": or_none(self.entry),
            "ues_opening": or_none(lambda: self.opening().opening_frame),
            "ues_closing": or_none(self.closing),
        }
        return {name: frame for name, frame in frames.items() if frame is not None}

    def warnings(self) -> list[str]:
        """What the grid of pixels does not tell."""
        opening = or_none(self.opening)
        if opening is None or not opening.is_along_grid:
            return []
        pixel = self.spine().one_pixel
        return [f"ues_maximal_width is known to one pixel only, {pixel:.2g} %C2-4: the walls run along the pixel grid"]


def film_warnings(clip: ClipMasks, visible: ArrayLike | None) -> list[str]:
    """What limits the numbers of the whole film, in words."""
    words = hidden.edge_warnings(clip, hidden.field_edge(clip, visible))
    if clip.times_ms is not None and clip.num_frames > 1:
        rate = 1000.0 / clip.frame_interval_ms
        if rate < SLOWEST_FRAME_RATE:
            words.insert(0, f"timings and kinematics change below 30 frames/s: this clip has {rate:.3g}")
    return words


def _warnings(clip: ClipMasks, measures: list[Measure]) -> list[str]:
    words = []
    for name in USED:
        missing = int((clip.area(name) == 0).sum())
        # A bolus comes and goes and a vestibule shuts: being absent is no gap there.
        if name not in ("bolus", "laryngeal_vestibule") and 0 < missing < clip.num_frames:
            words.append(f"{name} is absent in {missing} of {clip.num_frames} frames: these are left out")
    if any(measure.name == "nrrs_pharynx" and measure.value is not None for measure in measures):
        words.append("residue_percent_full and nrrs_pharynx refer to the whole pharynx, not to valleculae or sinuses")
    if any(measure.name == "bolus_in_airway" and measure.value for measure in measures):
        words.append("bolus in the airway: have a clinician review these frames; this is not a PAS score")
    return words
