"""What a clinical measure is: a number with its unit and uncertainty, or the reason why there is none."""

from collections.abc import Callable
from dataclasses import dataclass


class NotComputableError(Exception):
    """Raised inside this package where a measure needs what is not there; the message reads ``needs X``."""


@dataclass(frozen=True)
class Measure:
    """One measure of one swallow.

    Attributes:
        name: Such as ``hyoid_excursion_xy``.
        value: In ``unit``; None where it is not computable.
        unit: ``%C2-4``, ``%(C2-4)^2``, ``%C2-4/s``, ``%``, ``ms``, ``frames``, or ``1`` for a ratio.
        uncertainty: Half-width (±) due to the grid of pixels or frames alone, in ``unit``; None where none applies.
        num_frames: Number of frames that the value was taken from.
        reason: ``not computable: needs X`` where ``value`` is None, else empty.
    """

    name: str
    value: float | None
    unit: str
    uncertainty: float | None = None
    num_frames: int = 0
    reason: str = ""


@dataclass(frozen=True)
class SwallowMeasures:
    """All measures of one swallow.

    Attributes:
        measures: By name; every name is always there.
        events: Frame indices of the events that were found, for a look at the frames behind the numbers.
        airway_frames: Frames with bolus in the vestibule or the trachea: for review, not a PAS score.
        warnings: What limits the numbers, in words.
        refusal: Why nothing at all is measured, in words; empty where it is.
    """

    measures: dict[str, Measure]
    events: dict[str, int]
    airway_frames: tuple[int, ...]
    warnings: tuple[str, ...]
    refusal: str = ""


Result = tuple[float, float | None, int]
"""Value, uncertainty, number of frames."""


def attempt(name: str, unit: str, work_out: Callable[[], Result]) -> Measure:
    """Run ``work_out``; what it needs and does not find becomes the measure's reason."""
    try:
        value, uncertainty, num_frames = work_out()
    except NotComputableError as error:
        return Measure(name, None, unit, reason=f"not computable: {error}")
    return Measure(name, float(value), unit, None if uncertainty is None else float(uncertainty), num_frames)
