"""How far people who measure the same swallow differ: the yardstick of our measures, with its sources.

Searched for: published differences between raters of videofluoroscopy, in the units of our measures. An intraclass
correlation (ICC) is no error in units: it compares the raters' differences with how much the swallows of one sample
differ, so it is shown and nothing is held to it. Where nothing was found, this says so.
"""

from dataclasses import dataclass
from typing import Any

from bundle.metrics.kinematics import FilmMeasures

SIA = "Sia et al., Dysphagia 2012; 27: 192-197, doi 10.1007/s00455-011-9352-2"
ASPEKT = "J Speech Lang Hear Res 2020; 63: 948-962, doi 10.1044/2020_JSLHR-19-00051, table 5"
NOT_FOUND = "no human figure found"


@dataclass(frozen=True)
class HumanReliability:
    """What is known of one measure when people take it."""

    words: str  # the figure as published, or ``no human figure found``
    source: str = ""  # citation; empty where none was found
    limit: float | None = None  # 95% of people's errors are below this, in the measure's unit; None where unknown

    def __str__(self) -> str:
        return f"{self.words} ({self.source})" if self.source else self.words


# 2.48 to 3.06 mm are some 6 to 8% of an adult's C2-C4, of about 40 mm; the stricter end is taken.
DISPLACEMENT = HumanReliability("95% of errors below 2.5 to 3.1 mm, 6 to 8 %C2-4: 6 is taken", SIA, 6.0)
# A displacement is the difference of two places, so an error of one is 1/√2 of its own, if both are independent.
PLACE = HumanReliability("derived from displacement, the difference of two places: 6 / √2 %C2-4", SIA, 4.2)
EVENTS = "; of the frames of opening and closing ICC 0.98, which is no time"

HUMAN = {
    **{f"hyoid_excursion_{axis}": DISPLACEMENT for axis in ("x", "y", "xy")},
    **{f"hyoid_{place}_{axis}": PLACE for place in ("rest", "peak") for axis in ("x", "y", "xy")},
    "pharyngeal_area_constriction": HumanReliability("ICC 0.903 (0.877 to 0.932); no error in units", ASPEKT),
    "ues_maximal_width": HumanReliability("ICC 0.828 (0.783 to 0.863); no error in units", ASPEKT),
    "ues_opening_duration": HumanReliability(NOT_FOUND + EVENTS, ASPEKT),
    "residue": HumanReliability("ICC 0.885 (0.848 to 0.912); no error in units", ASPEKT),
}


def human_reliability(measure: str) -> HumanReliability:
    """What was found for a measure, by its name."""
    return HUMAN.get(measure, HumanReliability(NOT_FOUND))


MEASURE_COLUMNS = ("swallow", "measure", "value", "unit", "uncertainty", "human_error", "frames", "reason")


def measure_rows(film: FilmMeasures) -> list[dict[str, Any]]:
    """A row for every measure of every swallow, by ``MEASURE_COLUMNS``; the reason says why a value is None.

    The number of the swallow is None where there is no whole one.
    """
    rows = (
        (number, m.name, m.value, m.unit, m.uncertainty, human_reliability(m.name).limit, m.num_frames, m.reason)
        for number, swallow in film.numbered()
        for m in swallow.measures.values()
    )
    return [dict(zip(MEASURE_COLUMNS, row, strict=True)) for row in rows]
