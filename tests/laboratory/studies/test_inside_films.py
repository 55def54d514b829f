"""The page on real films, small: drawn films, a placebo as the teacher. Numbers and two figures, and no film."""

import json

import pytest
import torch

from bundle.laboratory.public_sets.radiographs import make_jsrt_datalist
from bundle.laboratory.studies.inside_films import look_inside_films
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from tests.laboratory.studies.real_films import make_folders


def test_the_page_has_numbers_and_no_film(tmp_path):
    jsrt, _ = make_folders(tmp_path, num_jsrt=10, num_chest=2)
    datalist = make_jsrt_datalist(jsrt, tmp_path, fractions=(0.4, 0.2, 0.4)).rename(tmp_path / "jsrt.json")
    (tmp_path / "teachers.json").write_text(
        json.dumps({"teachers": {"placebo": {"_target_": "bundle.teachers.derived.load_placebo"}}})
    )
    after = tmp_path / "student.pt"
    torch.save(StudentEncoder(TimmTrunk("efficientvit_b0")).state_dict(), after)
    with pytest.raises(ValueError, match=r"student\.json must say student_backbone"):
        look_inside_films(datalist, tmp_path / "teachers.json", after, tmp_path / "page")
    after.with_suffix(".json").write_text(json.dumps({"student_backbone": "efficientvit_b0", "image_size": 64}))
    page = look_inside_films(datalist, tmp_path / "teachers.json", after, tmp_path / "page")
    text = page.read_text()
    assert "4 films of the section `test`" in text
    assert "| jsrt | embedding | " in text
    assert "nan" not in text
    assert {file.name for file in page.parent.iterdir()} == {
        "inside_jsrt.md",
        "inside_jsrt_feature_space.png",
        "inside_jsrt_cka.svg",
    }
