"""A run's record: what goes into its file comes out of it, and what is wrong is named."""

import json
from dataclasses import replace

import pytest

from bundle.laboratory.studies.record import RunRecord, split_names


def record(splits: dict) -> RunRecord:
    return RunRecord(
        key="ab12",
        study="teacher_sets",
        variant="MedSAM2 + RAD-DINO",
        seed=0,
        splits=splits,
        measured={"seconds": 123.0},
        scale={"image_size": 128},
        finished="2026-11-27T13:00:00Z",
        machine="2 cores",
    )


DICE = {"p024": {"bolus": 0.81, "c4": None}}
HD95 = {"p024": {"bolus": 3.1, "c4": None}}


def test_a_record_comes_back_from_its_file_as_it_was():
    phase = {"teachers": ["medclip"], "curves": {"weight/medclip": [[0, 1.0]]}, "unexplained": {"medclip": 0.5}}
    before = replace(record({"test": {"dice": DICE, "hd95": HD95}}), phases=[phase], names=(("labels", "distilled"),))
    assert RunRecord.from_dict(json.loads(json.dumps(before.to_dict()))) == before
    assert before.to_dict()["splits"]["test"]["hd95"]["p024"] == {"bolus": 3.1, "c4": None}


def test_a_nan_is_written_as_null():
    written = record({"test": {"dice": DICE, "hd95": {"p024": {"bolus": float("nan"), "c4": 2.0}}}}).to_dict()
    assert written["splits"]["test"]["hd95"] == {"p024": {"bolus": None, "c4": 2.0}}


def test_splits_are_named_once_in_the_order_in_which_they_occur():
    one, other = ({"test": {"dice": DICE}}, {"hard_test": {"dice": DICE}, "test": {"dice": DICE}})
    assert split_names([record(one), record(other)]) == ["test", "hard_test"]
    assert split_names([]) == []


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": {"hd95": HD95}}, r"seed 0, split test: expected Dice of one patient or more under 'dice', got"),
        ({"test": {"dice": {}}}, "expected Dice of one patient or more"),
        ({"test": {"dice": {"p024": {"bolus": 81.0}}}}, r"Dice must be in \[0, 1\] or None, got 81.0"),
        ({"test": {"dice": {"p024": {"bolus": -0.1}}}}, r"Dice must be in \[0, 1\] or None, got -0.1"),
    ],
)
def test_scores_that_cannot_be_are_refused(splits, message):
    with pytest.raises(ValueError, match=message):
        record(splits)


def test_a_missing_or_an_unknown_entry_is_refused_and_both_lists_are_shown():
    content = record({"test": {"dice": DICE}}).to_dict()
    with pytest.raises(ValueError, match=r"'seed'.*got \['finished', 'key', 'machine'"):
        RunRecord.from_dict({name: value for name, value in content.items() if name != "seed"})
    with pytest.raises(ValueError, match=r"got .*'sead'"):
        RunRecord.from_dict(content | {"sead": 1})
