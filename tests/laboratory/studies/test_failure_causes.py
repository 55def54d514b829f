"""What goes with failure: a planted association is found, noise is not, and extremes count at the harmful end alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from bundle.laboratory.studies.failures import associations, drawn_values, harmful_extremes
from bundle.phantom.study import generate_study


def patient(dice: float, photons: float, **others: float) -> SimpleNamespace:
    description = {
        "patient": others,
        "swallow": {"aspiration": False},
        "machine": {"photons": photons, "marker": "disc"},
    }
    return SimpleNamespace(mean_dice=dice, description=description)


@pytest.fixture
def patients() -> list:
    """The more photons the better; two values that have nothing to do with it."""
    random = np.random.default_rng(0)
    return [patient(0.5 + 0.01 * i, 10.0 * i, scale=random.normal(), lean=random.normal()) for i in range(30)]


def test_the_planted_association_is_found_and_constants_and_words_are_left_out(patients):
    found = associations(patients)
    assert found[0].name == "machine: photons"
    assert found[0].correlation == pytest.approx(1.0)
    assert found[0].p_value < 0.001
    assert {one.name for one in found} == {"machine: photons", "patient: scale", "patient: lean"}
    assert all(one.p_value > 0.05 for one in found[1:])


def test_few_photons_are_extreme_where_few_are_harmful_and_many_are_not(patients):
    lowest, highest = (harmful_extremes(one, patients) for one in (patients[0], patients[-1]))
    assert (lowest[0].name, lowest[0].value, lowest[0].rank) == ("machine: photons", 0.0, 1.0)
    assert "machine: photons" not in [one.name for one in highest]


def test_many_are_extreme_where_many_are_harmful(patients):
    worse = [patient(1 - one.mean_dice, one.description["machine"]["photons"]) for one in patients]
    assert harmful_extremes(worse[0], worse) == []
    assert harmful_extremes(worse[-1], worse)[0].rank == 30


def test_a_finding_of_most_patients_is_not_extreme():
    some = [patient(0.5 + 0.01 * i, 1.0, has_tube=float(i < 20)) for i in range(30)]
    assert associations(some)[0].correlation < 0
    assert harmful_extremes(some[0], some) == []


def test_every_number_of_a_real_description_is_read():
    found = drawn_values(generate_study(1, size=32, num_frames=1).description)
    assert {"machine: photons", "swallow: aspiration", "patient: has plate", "machine: shutter mm bottom"} <= set(found)
    assert not [name for name in found if "seed" in name or "marker" in name or "gray scale" in name]
    assert all(isinstance(value, float) for value in found.values())
