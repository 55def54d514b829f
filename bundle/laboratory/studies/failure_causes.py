"""What goes with failure: drawn values of patient, machine and swallow, and the Dice of the same patients.

An association is no cause: many values are compared, and in the hard domain many are extreme at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import rankdata, spearmanr

from bundle.laboratory.studies.failures import PatientResult
from bundle.laboratory.studies.statistics import holm

PARTS = ("patient", "swallow", "machine")
NO_PROPERTY = ("texture_seed", "marker_mm", "marker_diameter_mm")
"""Drawn values that say nothing of an image's difficulty."""

INDICES = {2: ("x", "y"), 4: ("left", "top", "right", "bottom")}
"""Names of the numbers of a pair (on the template) and of the collimator's edges."""

OUTER = 0.1
"""Share of the patients at one end that counts as extreme."""


@dataclass(frozen=True)
class Association:
    """A drawn value and the mean Dice of the same patients.

    Attributes:
        name: Of the value, such as ``machine: photons``.
        correlation: Spearman's rank correlation; above 0: the larger the value, the better the masks.
        p_value: Of no correlation, corrected for the number of values (Holm).
    """

    name: str
    correlation: float
    p_value: float


@dataclass(frozen=True)
class Extreme:
    """A value of one patient that lies at an end of its domain's range.

    Attributes:
        name: Of the value.
        value: As drawn.
        rank: From 1, the lowest; the mean rank of equal ones.
        num_patients: That the rank is among.
        correlation: Of the value and the patients' Dice.
    """

    name: str
    value: float
    rank: float
    num_patients: int
    correlation: float


def drawn_values(description: Mapping[str, Any]) -> dict[str, float]:
    """Every drawn number and yes or no (1 or 0) of a study's description, by part and name."""
    found = {}
    for part in PARTS:
        for name, value in description[part].items():
            if name in NO_PROPERTY or isinstance(value, str):
                continue
            values = value if isinstance(value, list | tuple) else [value]
            for index, number in enumerate(values):
                suffix = f" {INDICES[len(values)][index]}" if len(values) > 1 else ""
                found[f"{part}: {name.replace('_', ' ')}{suffix}"] = float(number)
    return found


def associations(patients: Sequence[PatientResult]) -> list[Association]:
    """Rank correlation of every drawn value with the patients' mean Dice, strongest first; constant values left out.

    Args:
        patients: Of one domain.
    """
    table = _table(patients)
    scores = [patient.mean_dice for patient in patients]
    tested = {name: spearmanr(column, scores) for name, column in table.items() if len(set(column)) > 1}
    p_values = holm({name: float(test.pvalue) for name, test in tested.items() if not math.isnan(test.pvalue)})
    found = [Association(name, float(tested[name].statistic), value) for name, value in p_values.items()]
    return sorted(found, key=lambda association: -abs(association.correlation))


def harmful_extremes(patient: PatientResult, patients: Sequence[PatientResult], most: int = 3) -> list[Extreme]:
    """Values of a patient in the outer tenth of its domain, at the end at which masks are worse.

    Args:
        patient: One of ``patients``.
        patients: Of one domain.
        most: How many are listed, those with the strongest correlation.
    """
    table, place, total = _table(patients), list(patients).index(patient), len(patients)
    found = []
    for association in associations(patients):
        column = table[association.name]
        rank = float(rankdata(column)[place])
        from_bad_end = rank if association.correlation > 0 else total + 1 - rank
        if from_bad_end <= max(1.0, OUTER * total):
            found.append(Extreme(association.name, column[place], rank, total, association.correlation))
    return found[:most]


def _table(patients: Sequence[PatientResult]) -> dict[str, list[float]]:
    """Values of all patients, by name."""
    rows = [drawn_values(patient.description) for patient in patients]
    return {name: [row[name] for row in rows] for name in rows[0]}
