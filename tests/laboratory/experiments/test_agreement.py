"""Agreement of measures with the phantom's truth: rows worked out by hand, and a run on two small patients."""

import csv
import json

import pytest
import torch

from bundle.laboratory.experiments import agreement
from bundle.laboratory.experiments.agreement import (
    FROM_PREDICTED,
    FROM_TRUE,
    format_agreement,
    measure_agreement,
    record_errors,
    summarize,
)
from bundle.metrics.measured_errors import UNMEASURED, MeasuredErrors, read_errors
from bundle.metrics.reliability import HUMAN
from bundle.phantom.study import generate_study


def test_bias_and_limits_are_of_measured_less_truth_and_what_is_missing_is_counted():
    pairs = [(10.0, 11.0, None), (20.0, 21.0, 18.0), (30.0, 31.0, 32.0)]
    values = [
        {"measure": "length", "unit": "%", "truth": truth, "tolerance": 1.5, FROM_TRUE: one, FROM_PREDICTED: other}
        for truth, one, other in pairs
    ]
    true, predicted = summarize(values)
    assert (true["bias"], true["lower"], true["upper"], true["patients"]) == (1.0, 1.0, 1.0, 3)
    assert (predicted["bias"], predicted["patients"], predicted["not_computable"]) == (0.0, 2, 1)
    assert predicted["upper"] == pytest.approx(1.96 * 8**0.5, abs=1e-3)
    row = "| length | % | no human figure found | 2% or one frame | +1 [1, 1] | 3 of 3 | +0 [-5.54, 5.54] | – | 0 of 3 "
    assert f"{row}| 1 of 3 |" in format_agreement([true, predicted])


def test_one_pair_has_no_limits():
    values = [{"measure": "length", "unit": "%", "truth": 1.0, "tolerance": 0.1, FROM_TRUE: 1.0, FROM_PREDICTED: None}]
    assert [row["bias"] for row in summarize(values)] == [None, None]
    assert "| – | 1 of 1 | – | – | 0 of 1 | 1 of 1 |" in format_agreement(summarize(values))


def test_a_network_that_finds_nothing_has_nothing_to_measure_and_true_masks_have(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "SIZE", 160)
    monkeypatch.setattr(agreement, "FRAME_RATE", 12.0)
    monkeypatch.setattr(agreement, "NUM_FRAMES", 34)

    def nothing(frames: torch.Tensor) -> torch.Tensor:
        return torch.full((len(frames), 12, 32, 32), -5.0)

    rows = {(row["measure"], row["masks"]): row for row in measure_agreement(nothing, 32, tmp_path, num_patients=2)}
    assert rows["hyoid_excursion_xy", FROM_TRUE]["patients"] == 2
    assert abs(rows["c2_c4_length", FROM_TRUE]["bias"]) < 1.5  # pixels
    assert rows["hyoid_excursion_xy", FROM_PREDICTED] | {"unit": ""} == {
        "measure": "hyoid_excursion_xy",
        "unit": "",
        "masks": FROM_PREDICTED,
        "not_computable": 2,
        "bias": None,
        "lower": None,
        "upper": None,
        "patients": 0,
        "within": 0,
        "icc": None,
        "limit": "people",
    }
    assert len(list(csv.DictReader((tmp_path / "values.csv").read_text().splitlines()))) == len(rows)
    assert json.loads((tmp_path / "agreement.json").read_text())["data"] == "synthetic phantom"


def test_a_measure_with_a_human_limit_is_held_to_it(monkeypatch):
    study = generate_study(31_000_000, 96, 30, "consecutive", frame_rate=12.0)
    rows = {row["measure"]: row for row in agreement._values(0, study, None)}
    assert rows["hyoid_excursion_xy"]["tolerance"] == HUMAN["hyoid_excursion_xy"].limit == 6.0
    assert rows["ues_opening_duration"]["tolerance"] == pytest.approx(1000 / 12, abs=0.1)


def test_recorded_errors_are_those_that_the_product_reads_for_these_weights_and_for_no_others(tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"weights")
    (tmp_path / "model.json").write_text(json.dumps({"image_size": 512}))
    assert read_errors(weights) == UNMEASURED
    row = {"measure": "residue", "masks": FROM_PREDICTED, "bias": -1.0, "lower": -3.0, "upper": 1.0}
    lacking = {"measure": "hyoid_speed", "masks": FROM_PREDICTED, "bias": None, "lower": None, "upper": None}
    true = {"measure": "residue", "masks": FROM_TRUE, "bias": 0.0, "lower": -9.0, "upper": 9.0}
    record_errors([true, row, lacking], weights, "20 synthetic swallows")
    assert read_errors(weights) == MeasuredErrors("20 synthetic swallows", {"residue": 3.0})
    assert json.loads((tmp_path / "model.json").read_text())["image_size"] == 512
    weights.write_bytes(b"others")
    assert read_errors(weights) == UNMEASURED


def test_one_patient_is_refused(tmp_path):
    with pytest.raises(ValueError, match="need two patients or more, got 1"):
        measure_agreement(lambda frames: frames, 32, tmp_path, num_patients=1)
