"""Sizes and speeds of students: counted, and read from the benchmarks of this repository."""

import json

import pytest

from bundle.laboratory.studies.readouts import describe_costs


def test_a_larger_student_has_more_parameters_and_operations(tmp_path):
    small, large = (describe_costs(name, tmp_path / "none.json") for name in ("efficientvit_b0", "efficientvit_b1"))
    assert 4e6 < small["parameters"] < large["parameters"]
    assert 1e9 < small["FLOPs"] < large["FLOPs"]
    assert "frames/s" not in small


@pytest.mark.parametrize(("backbone", "expected"), [("efficientvit_b0", 50.5), ("repvit_m0_9", None)])
def test_the_speed_is_that_of_openvino_in_float32(tmp_path, backbone, expected):
    row = {"network": "efficientvit_b0", "runtime": "openvino", "precision": "float32", "frames/s": 50.5}
    rows = [{**row, "runtime": "torch", "frames/s": 1.0}, row, {**row, "precision": "int8", "frames/s": 2.0}]
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps({"deployment": {"rows": rows}}))
    assert describe_costs(backbone, path).get("frames/s") == expected
