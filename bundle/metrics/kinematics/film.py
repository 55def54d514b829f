"""The measures of a film: of each of its swallows, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from numpy.typing import ArrayLike

from bundle.metrics.kinematics.clip_masks import (
    ClipMasks,
    FilmMeasures,
    MaskFrames,
    Measure,
    NotComputableError,
    SwallowMeasures,
)
from bundle.metrics.kinematics.spine_frame import find_spine_frame
from bundle.metrics.kinematics.swallow import film_warnings, measure_part
from bundle.metrics.kinematics.swallows import find_swallows
from bundle.structures import STRUCTURES

OF_ANY_FILM = ("c2_c4_length", "bolus_in_airway")  # measures that need no swallow


def measure_film(
    masks: ArrayLike | MaskFrames,
    frame_times_ms: ArrayLike | None,
    structures: Sequence[str] = STRUCTURES,
    pixel_aspect: float = 1.0,
    visible: ArrayLike | None = None,
) -> FilmMeasures:
    """Find the swallows of a film and measure each; arguments as of ``measure_swallow``.

    Returns:
        A film without a whole swallow has one entry, of all its frames, in which whatever needs a swallow is refused.
    """
    clip = ClipMasks(masks, frame_times_ms, structures, pixel_aspect)
    warnings = film_warnings(clip, visible)
    spine = cache(lambda: find_spine_frame(clip))
    try:
        windows, notes = find_swallows(clip, spine())
    except NotComputableError as error:
        return FilmMeasures((_without_swallow(measure_part(clip, spine), str(error)),), tuple(warnings), str(error))
    swallows = tuple(measure_part(clip, spine, window) for window in windows)
    return FilmMeasures(swallows, (*warnings, *notes))


def _without_swallow(whole: SwallowMeasures, why: str) -> SwallowMeasures:
    """The measures of all frames, but none that needs a swallow, and no event."""

    def refused(measure: Measure) -> Measure:
        if measure.name in OF_ANY_FILM or measure.value is None:
            return measure
        return replace(measure, value=None, num_frames=0, reason=f"not computable: {why}")

    return replace(whole, measures={name: refused(measure) for name, measure in whole.measures.items()}, events={})
