"""The frames that a reader wants to see first, each a thumbnail that leads to its frame."""

from dataclasses import dataclass

from bundle.metrics.kinematics import SwallowMeasures
from bundle.report.words import event_label, runs

SHOWN_EVENTS = ("bolus_enters_pharynx", "ues_opening", "hyoid_peak", "pharyngeal_constriction")
MOST_AIRWAY_RUNS = 4


@dataclass(frozen=True)
class KeyFrame:
    """A frame and why it is shown.

    Attributes:
        label: In words.
        frame: Index from 0.
        is_for_review: Whether a clinician is asked to look at it.
    """

    label: str
    frame: int
    is_for_review: bool = False


def key_frames(measures: SwallowMeasures | None, rest_frame: int | None) -> list[KeyFrame]:
    """Rest, events and the start of each of the first runs of frames with bolus in the airway, in the order of time."""
    found = [] if rest_frame is None else [KeyFrame("Rest", rest_frame)]
    if measures is not None:
        found += [KeyFrame(event_label(e), measures.events[e]) for e in SHOWN_EVENTS if e in measures.events]
        airway = runs(measures.airway_frames)[:MOST_AIRWAY_RUNS]
        found += [KeyFrame("Bolus in airway: review", first, is_for_review=True) for first, _ in airway]
    return sorted(found, key=lambda key_frame: key_frame.frame)
