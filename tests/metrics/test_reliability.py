"""The table of what people err by: every figure has a source, and what is not known says so."""

import numpy as np
import pytest

from bundle.metrics.kinematics import FilmMeasures, Measure, SwallowMeasures, measure_swallow
from bundle.metrics.measured_errors import KEY, MeasuredErrors, read_errors
from bundle.metrics.reliability import HUMAN, NOT_FOUND, human_reliability, measure_rows


def test_every_figure_is_of_a_measure_and_has_a_source_with_a_doi():
    names = set(measure_swallow(np.zeros((2, 12, 8, 8), bool), None).measures)
    assert set(HUMAN) <= names
    assert all("doi 10." in known.source for known in HUMAN.values())


def test_only_errors_in_units_are_limits_and_a_correlation_is_none():
    assert {name for name, known in HUMAN.items() if known.limit is not None} == {
        f"hyoid_{what}_{axis}" for what in ("rest", "peak", "excursion") for axis in ("x", "y", "xy")
    }
    assert HUMAN["hyoid_peak_x"].limit == pytest.approx(HUMAN["hyoid_excursion_x"].limit / 2**0.5, abs=0.05)


def test_what_nobody_is_known_to_have_published_says_so():
    assert str(human_reliability("pharyngeal_transit")) == NOT_FOUND
    assert human_reliability("pharyngeal_transit").limit is None


def test_rows_name_the_swallow_the_models_error_and_the_human_one():
    measures = {
        m.name: m for m in (Measure("hyoid_excursion_x", 20.0, "%C2-4"), Measure("residue", None, "%", None, 0, "why"))
    }
    film = FilmMeasures((SwallowMeasures(measures, {}, (), ()),) * 2)
    rows = measure_rows(MeasuredErrors("", {"hyoid_excursion_x": 5.0, "residue": 1.0}).of_film(film))
    assert [(row["swallow"], row["measure"], row["uncertainty"], row["human_error"]) for row in rows] == [
        (1, "hyoid_excursion_x", 5.0, 6.0),
        (1, "residue", None, None),
        (2, "hyoid_excursion_x", 5.0, 6.0),
        (2, "residue", None, None),
    ]
    assert {row["swallow"] for row in measure_rows(FilmMeasures(film.swallows[:1], (), "needs one whole swallow"))} == {
        None
    }


def test_a_record_of_errors_that_is_none_is_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "model.json").write_text(f'{{"{KEY}": [1]}}')
    with pytest.raises(
        ValueError, match=r"must hold sha256, words and limits, as measure_agreement\.py --record writes"
    ):
        read_errors(tmp_path / "model.pt")
