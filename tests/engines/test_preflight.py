"""A misspelt key, a missing file: said in one line before anything is built."""

import json
import sys
from pathlib import Path

import pytest

from bundle.engines.preflight import check_files, check_keys, parse_command_line, report_in_one_line

BASE = {
    "epochs": 3,
    "tuned": {"rate": 0.1},
    "optimizer": {"_target_": "torch.optim.AdamW", "params": "$[]", "lr": "@tuned::rate"},
    "training": ["$@optimizer.step()"],
}


@pytest.fixture
def write(tmp_path):
    def write_config(name: str, content: dict) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write_config


def test_an_overlay_may_change_what_is_defined_below(write):
    merged = check_keys([write("base.json", BASE), write("overlay.json", {"epochs": 1, "tuned": {"rate": 1.0}})])
    assert merged["epochs"] == 1
    assert merged["tuned"]["rate"] == 1.0


def test_a_misspelt_key_of_an_overlay_is_refused_with_the_near_one(write):
    with pytest.raises(ValueError, match=r"unknown config key 'epoch' in .*overlay.json; did you mean 'epochs'"):
        check_keys([write("base.json", BASE), write("overlay.json", {"epoch": 1})])


def test_a_misspelt_key_of_the_command_line_is_refused(write):
    with pytest.raises(ValueError, match="unknown config key 'epochz' in the command line"):
        check_keys([write("base.json", BASE)], {"epochz": "1"})


def test_a_new_key_counts_when_the_overlay_refers_to_it(write):
    overlay = {"slow": 0.01, "tuned": {"rate": "@slow"}}
    assert check_keys([write("base.json", BASE), write("overlay.json", overlay)])["slow"] == 0.01


def test_a_new_argument_counts_when_the_component_has_it(write):
    base = write("base.json", BASE)
    check_keys([base, write("good.json", {"optimizer::weight_decay": 0.1})])
    with pytest.raises(ValueError, match="unknown config key 'optimizer::weight_decai'"):
        check_keys([base, write("bad.json", {"optimizer": {"weight_decai": 0.1}})])


def test_a_new_entry_counts_in_a_table_that_is_used_as_a_whole(write):
    base = write("base.json", {**BASE, "metrics": {"loss": "$1"}, "training": ["$len(@metrics)"]})
    check_keys([base, write("good.json", {"metrics": {"dice": "$2"}})])
    with pytest.raises(ValueError, match="unknown config key 'tuned::rat'"):
        check_keys([base, write("bad.json", {"tuned": {"rat": 0.1}})])


def test_a_component_may_be_replaced_whole(write):
    overlay = {"optimizer": {"_target_": "torch.optim.SGD", "params": "$[]", "momentum": 0.9}}
    check_keys([write("base.json", BASE), write("overlay.json", overlay)])


def test_a_missing_config_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check_keys([tmp_path / "nowhere.json"])


def test_every_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"student.pt.*list.json.*run the stage that makes it first"):
        check_files([tmp_path / "student.pt", tmp_path / "list.json"])


def test_the_command_line_is_read_as_monai_reads_it():
    argv = ["site-packages/monai/bundle/__main__.py", "run", "training", "--config_file", "['a.json', 'b.json']"]
    run_ids, configs, overrides = parse_command_line([*argv, "--epochs", "3", "--device=cpu"])
    assert "training" in run_ids
    assert configs == [Path("a.json"), Path("b.json")]
    assert overrides == {"epochs": "3", "device": "cpu"}


def test_another_program_has_no_bundle_command_line():
    assert parse_command_line(["pytest", "tests"]) is None


def test_a_users_error_is_one_line_even_when_wrapped(capsys):
    try:
        try:
            raise FileNotFoundError("teacher weights not found:\n  x.safetensors")
        except FileNotFoundError as error:
            raise RuntimeError("Failed to instantiate") from error
    except RuntimeError as error:
        report_in_one_line(*sys.exc_info()[:2], error.__traceback__)
    assert capsys.readouterr().err == "error: teacher weights not found: x.safetensors\n"


def test_a_users_error_is_one_line_even_when_a_librarys_lies_under_it(capsys):
    try:
        try:
            raise RuntimeError("PytorchStreamReader failed")
        except RuntimeError as error:
            raise ValueError("model.pt is broken; fetch it again") from error
    except ValueError as error:
        report_in_one_line(ValueError, error, error.__traceback__)
    assert capsys.readouterr().err == "error: model.pt is broken; fetch it again\n"


def test_a_programming_error_keeps_its_traceback(capsys):
    try:
        _ = {}["key"]
    except KeyError as error:
        report_in_one_line(KeyError, error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err
