"""Studies as JSON: what ships is sound, and what is wrong in one is named."""

import json

import pytest

from bundle.laboratory.studies.definition import FOLDER, Phase, read_scale, read_study, study_names, teacher_configs
from bundle.paths import ROOT


@pytest.mark.parametrize("name", study_names())
def test_what_ships_names_configs_and_teachers_that_there_are(name):
    study, teachers = read_study(FOLDER / f"{name}.json"), teacher_configs()
    assert len(study.variants) >= 2
    for variant in study.variants:
        for phase in (*variant.phase_1, variant.phase_2):
            assert all((ROOT / "configs" / config).is_file() for config in phase.configs)
            phase.overlay(teachers)


def test_every_table_of_teachers_has_a_placebo():
    variants = read_study(FOLDER / "teacher_sets.json").variants
    assert ("placebo",) in [phase.teachers for variant in variants for phase in variant.phase_1]


def test_a_phase_that_is_not_mentioned_is_the_configs_own_and_null_is_none(tmp_path):
    variants = {
        "as it is": {},
        "from scratch": {"phase_1": None},
        "in turn": {"phase_1": [{}, {"teachers": ["medclip"]}]},
    }
    study = read_study(write(tmp_path, variants=variants, reference="as it is"))
    as_it_is, scratch, in_turn = study.variants
    assert as_it_is.phase_1 == (Phase(("distill.json",)),)
    assert scratch.phase_1 == ()
    assert [phase.teachers for phase in in_turn.phase_1] == [None, ("medclip",)]
    assert as_it_is.phase_2.configs == ("train.json",)


def test_teachers_are_spelled_out_in_the_order_in_which_they_are_named():
    phase = Phase(("distill.json",), {"batch_size": 4}, ("placebo", "medclip"))
    overlay = phase.overlay(teacher_configs())
    assert list(overlay["teachers"]) == ["placebo", "medclip"]
    assert overlay["teachers"]["placebo"] == {"_target_": "bundle.teachers.derived.load_placebo"}
    assert overlay["batch_size"] == 4


def test_an_unknown_teacher_is_named():
    with pytest.raises(
        ValueError, match=r"teachers are \[.*'placebo'.*\], got \['dino'\]: add others to teachers.json"
    ):
        Phase(("distill.json",), {}, ("medclip", "dino")).overlay(teacher_configs())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"reference": "b"}, r"reference must be one of \['a'\], got 'b'"),
        ({"variants": {"a": {"phase_3": {}}}}, r"unknown \['phase_3'\]"),
        ({"variants": {"a": {"phase_1": {"teacher": ["medclip"]}}}}, r"unknown \['teacher'\]"),
        ({"variants": {"a": {"phase_1": 3}}}, "expected an object .*, got 3"),
        ({"variants": {"a": {"phase_1": {"share": 0}}}}, "share must be a number above 0, .* got 0"),
        ({"shows": ["curves"]}, r"shows must be some of \['weights', .*\], got \['curves'\]"),
        ({"questions": "?"}, r"unknown \['questions'\]"),
    ],
)
def test_what_is_wrong_in_a_study_is_named(tmp_path, changed, words):
    with pytest.raises(ValueError, match=words):
        read_study(write(tmp_path, **changed))


def test_a_study_or_scale_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(FileNotFoundError, match=r"studies are .*teacher_sets"):
        read_study(FOLDER / "none.json")
    with pytest.raises(ValueError, match=r"has the scales \['small', 'full'\], not 'huge'"):
        read_scale("huge")


def write(folder, **changed):
    content = {"title": "T", "question": "Q?", "paper": "P.", "reference": "a", "variants": {"a": {}}, **changed}
    path = folder / "study.json"
    path.write_text(json.dumps(content))
    return path
