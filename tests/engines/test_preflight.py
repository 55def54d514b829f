"""A misspelt key, a value of another kind, a missing file: said before anything is built."""

import json
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.utils import OptionalImportError

from bundle.engines.command_line import parse_command_line
from bundle.engines.preflight import check_files, check_keys

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
    with pytest.raises(FileNotFoundError, match=r"student.pt.*list.json.*if a stage makes it, run that first"):
        check_files([tmp_path / "student.pt", tmp_path / "list.json"])


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="is a folder, but a file is expected: name the file in it"):
        check_files([tmp_path])


def test_an_overlay_may_add_a_component_to_a_table_in_either_spelling(write):
    base = write("base.json", {"teachers": {}, "training": ["$len(@teachers)"]})
    mine = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 4}
    check_keys([base, write("one.json", {"teachers::mine": mine})])
    check_keys([base, write("other.json", {"+teachers": {"mine": mine}})])


@pytest.mark.parametrize("where", ["overlay", "override"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": "three"}, "epochs in .* must be a number, such as 3, got 'three'"),
        ({"epochs": True}, "epochs in .* must be a number, such as 3, got True"),
        ({"resume": "no"}, "resume in .* must be True or False, got 'no'"),
        ({"outputs": "png"}, r"""outputs in .* must be a list, as in "\['a', 'b'\]", got 'png'"""),
        ({"input": ["a", "b"]}, "input in .* must be one text that is not empty; for several inputs name their"),
        ({"output_dir": "a#b"}, "output_dir in .* has a '#', which MONAI takes for '::': 'a#b'; rename it, or name a"),
        ({"tuned": {"output_dir": "a#b"}}, "has a '#'"),
        ({"output_dir": "$'a#b'"}, "has a '#'"),
    ],
)
def test_a_value_of_another_kind_is_refused(write, change, message, where):
    base = write("base.json", {**BASE, **KINDS})
    configs, overrides = ([base, write("overlay.json", change)], {}) if where == "overlay" else ([base], change)
    with pytest.raises(ValueError, match=message):
        check_keys(configs, overrides)


KINDS = {
    "resume": True,
    "outputs": ["nifti"],
    "input": "@output_dir",
    "output_dir": "$'a'",
    "run": ["$@resume", "$@outputs", "$@input", "$@tuned#rate", "$@tuned"],
}


@pytest.mark.parametrize(
    "change",
    [{"epochs": 3.5}, {"epochs": "$3 * 4"}, {"epochs": "@tuned#rate"}, {"input": None}, {"outputs": ("png", "areas")}],
)
def test_values_of_the_same_kind_and_expressions_are_accepted(write, change):
    check_keys([write("base.json", {**BASE, **KINDS})], change)


def test_a_component_may_take_true_or_false_where_a_run_takes_a_text(write):
    base = write("base.json", {"teachers": {}, "training": ["$len(@teachers)"]})
    resnet = {"_target_": "timm.create_model", "model_name": "resnet10t", "pretrained": False}
    check_keys([base, write("overlay.json", {"teachers::mine": resnet})])


def test_a_key_that_adds_to_a_list_has_no_effect_on_the_command_line(write):
    with pytest.raises(ValueError, match="would have no effect: '\\+' adds to a list in a config file only"):
        check_keys([write("base.json", {**BASE, **KINDS})], {"+outputs": ["png"]})


# In a run: MONAI's parser evaluates the steps, with what its command line has made of the texts


BUNDLE = {
    "imports": [
        "$from bundle.engines.preflight import check_config",
        "$from bundle.engines.preflight import preflight",
    ],
    "output_dir": "$'out'",
    "input": None,
    "checkpoint": None,
    "experiment_name": "mine",
    "resume": True,
    "device": "$torch.device('cpu')",
    "datalist": {"_target_": "pathlib.Path"},
    "initialize": ["$check_config()"],
    "run": ["$preflight(@output_dir)", "$(@input, @checkpoint, @experiment_name, @resume, @device, @datalist)"],
}


@pytest.fixture
def start(write, tmp_path, monkeypatch):
    """Runs the bundle with words of a command line; the values of its keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def start_bundle(*words: str, **config) -> tuple:
        file = str(write("bundle.json", {**BUNDLE, **config}))
        argv = ["site-packages/monai/bundle/__main__.py", "run", "run", "--config_file", file, *words]
        monkeypatch.setattr(sys, "argv", argv)
        parser = ConfigParser()
        parser.read_config(file)
        command_line = parse_command_line(argv)
        given = {**command_line.args, **command_line.overrides}
        parser.update({key: value for key, value in given.items() if value is not None})  # as monai.bundle.run does
        parser.parse()
        try:
            parser.get_parsed_content("initialize::0")
            parser.get_parsed_content("run::0")
        except RuntimeError as error:  # MONAI's, around every error
            raise error.__cause__ from None
        return parser.get_parsed_content("run::1")

    return start_bundle


@pytest.mark.parametrize("name", ["20240131", "Smith,John", "[a, b]", "1e3", "007", "True", "{a: b}", "(x)", "a b"])
def test_names_that_look_like_something_else_are_texts(start, tmp_path, name):
    (tmp_path / name).touch()
    values = start("--input", name, f"--output_dir={name}.out", "--experiment_name", name)
    assert values[0] == name
    assert values[2] == name
    assert (tmp_path / f"{name}.out" / "config.json").is_file()


def test_texts_from_a_file_of_arguments_are_texts(start, tmp_path, write):
    (tmp_path / "20240131").mkdir()
    args = write("args.json", {"input": 20240131, "experiment_name": 7})
    values = start("--args_file", str(args))
    assert (values[0], values[2]) == ("20240131", "7")


def test_a_misspelt_key_in_a_file_of_arguments_is_refused(start, write):
    args = write("args.json", {"outputz": ["areas"]})
    with pytest.raises(ValueError, match=r"unknown config key 'outputz' in .*args.json"):
        start("--args_file", str(args))


def test_none_true_and_false_are_what_they_say(start, tmp_path):
    (tmp_path / "model.pt").touch()
    (tmp_path / "film.avi").touch()
    words = ["--input", "film.avi", "--resume", "false", "--checkpoint", "None"]
    assert start(*words, checkpoint="model.pt")[1:4] == (None, "mine", False)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://jane:secret@pacs.example/dicom-web?StudyInstanceUID=1.2", "holds no user or password"),
        ("https://pacs.example/dicom-web?PatientName=Jane", "is searched by"),
    ],
)
def test_an_address_that_says_too_much_is_refused_before_anything_is_written(start, tmp_path, address, words):
    with pytest.raises(ValueError, match=words):
        start("--input", address, "--output_dir", "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["cpu", "$torch.device('cpu')"])
def test_a_device_is_given_by_its_name(start, tmp_path, device):
    (tmp_path / "film.avi").touch()
    assert start("--input", "film.avi", "--device", device)[4] == torch.device("cpu")


@pytest.mark.parametrize(
    ("component", "words"),
    [
        ({"_target_": "pathlib.Pathh"}, "datalist: pathlib.Pathh is not there"),
        ({"_target_": "bundle.losses.distancez.Cosine"}, "datalist: bundle.losses.distancez.Cosine is not there"),
        ({"_target_": "torch.nn.Linear", "in_feature": 3}, "datalist: torch.nn.Linear has no argument 'in_feature'"),
        ({"_target_": "builtins.dict", "of": [{"_target_": "torch.nn.GELU", "b": 1}]}, "datalist::of::0: .* it takes"),
    ],
)
def test_a_component_that_cannot_be_built_is_refused_before_anything_is(start, tmp_path, component, words):
    (tmp_path / "film.avi").touch()
    with pytest.raises(ValueError, match=words):
        start("--input", "film.avi", datalist=component)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "99", "meta", "$torch.device('nonsense')"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(start, tmp_path, device):
    (tmp_path / "film.avi").touch()
    with pytest.raises(ValueError, match=r"device .* cannot be used: this machine has cpu") as error:
        start("--input", "film.avi", "--device", device)
    assert device.strip("$") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_run_that_names_no_input_takes_none(start):
    with pytest.raises(ValueError, match="no input: name what to segment, as in --input path/to/file/or/folder"):
        start()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "nowhere"], "not found: nowhere"),
        (
            ["--input", "film.avi", "--checkpoint", "gone.pt"],
            "not found: gone.pt; correct the path, or if a stage makes it, run that first",
        ),
        (["--input", "film.avi", "--checkpoint", "folder"], "folder is a folder, but a file is expected"),
        (["--input", "film.avi", "--datalist", "gone.json"], "not found: gone.json"),
        (["--input", "film.avi", "--output_dir", "film.avi"], "output_dir film.avi cannot be written"),
        (["--input", "film.avi", "--output_dir", "film.avi/out"], "output_dir film.avi/out cannot be written"),
        (["--input"], "input in the command line must be one text"),
        (["--input", ""], "input in the command line must be one text that is not empty"),
        (["--input", "a", "--input", "b"], "--input is given twice: one run takes one; for several inputs name their"),
        (["--input", "a.avi", "b.avi"], "expected one thing to run, such as 'run', got run b.avi"),
    ],
)
def test_what_is_not_there_or_given_twice_is_said_before_anything_is_written(start, tmp_path, words, message):
    (tmp_path / "film.avi").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        start(*words)
    assert not (tmp_path / "out").exists()


def test_an_import_that_fails_is_said_before_anything_is_written(start, tmp_path):
    (tmp_path / "film.avi").touch()
    with pytest.raises(OptionalImportError, match="No module named 'no_such_package'"):
        start("--input", "film.avi", imports=[*BUNDLE["imports"], "$from no_such_package import thing"])
    assert not (tmp_path / "out").exists()


def test_the_config_is_recorded_as_it_ran(start, tmp_path):
    (tmp_path / "film.avi").touch()
    start("--input", "film.avi", "--resume", "False")
    recorded = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (recorded["input"], recorded["resume"], recorded["output_dir"]) == ("film.avi", False, "$'out'")


def test_a_checkpoint_of_another_configuration_is_refused_before_anything_is_written(start, tmp_path):
    (tmp_path / "film.avi").touch()
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    last = tmp_path / "out" / "checkpoints" / "last.pt"
    torch.save({"settings": {"rate": 1, "train::trainer": "@rate", "processes": 2, "batch_size": 8}}, last)
    training = {
        "rate": 1,
        "train": {"trainer": "@rate"},
        "safe_run": "@train::trainer",
        "run": ["$preflight(@output_dir)", "$(@input, @safe_run)"],
    }
    words = ["--input", "film.avi"]
    with pytest.raises(ValueError, match=r"last.pt is of another configuration \(rate 1, now 2\)"):
        start(*words, "--rate", "2", **training)
    assert not (tmp_path / "out" / "config.json").exists()
    start(*words, "--rate", "1", **training)
    start(*words, "--rate", "2", "--resume", "False", **training)
    start(*words, "--rate", "2", **{**training, "run": ["$preflight(@output_dir)", "@input"]})  # it trains nothing
    last.write_bytes(b"damaged")
    start(*words, "--rate", "2", **training)


def test_another_process_of_the_same_run_writes_nothing(start, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    start()
    assert not (tmp_path / "out").exists()


# The command line itself


def test_the_command_line_is_read_as_monai_reads_it():
    argv = ["site-packages/monai/bundle/__main__.py", "run", "training", "--config_file", "['a b.json', 'c,[d].json']"]
    command_line = parse_command_line([*argv, "--epochs", "3", "--device=cpu", "--seed", "-1", "--dataset-dir", "x"])
    assert command_line.run_ids == {"training"}
    assert command_line.configs == [Path("a b.json"), Path("c,[d].json")]
    assert command_line.overrides == {"epochs": 3, "device": "cpu", "seed": -1, "dataset_dir": "x"}
    assert command_line.texts == {"epochs": "3", "device": "cpu", "seed": "-1", "dataset_dir": "x"}


def test_a_config_may_be_named_in_a_file_of_arguments(write):
    args = write("args.json", {"config_file": "a,b.json", "run_id": "mine", "input": "x"})
    command_line = parse_command_line(["monai/bundle/__main__.py", "run", "--args_file", str(args)])
    assert command_line.configs == [Path("a,b.json")]
    assert command_line.run_ids == {"mine"}
    assert command_line.args == {"input": "x"}


def test_another_program_has_no_bundle_command_line():
    assert parse_command_line(["pytest", "tests"]) is None
