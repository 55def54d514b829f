"""What makes a run the same as another: the config that runs, whatever is in it, but for a short list."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from bundle.engines.checkpoints import check_settings
from bundle.engines.running_config import (
    MAY_DIFFER,
    TRAINER,
    built_settings,
    content_of,
    package_root,
    reachable,
    run_settings,
    running_parser,
)

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRAINING = f"$run_settings('{TRAINER}')"
RUNS = {
    "phase 1": (["distill.json"], "settings"),
    "phase 2": (["train.json", "no_distillation.json"], "settings"),
    "memory": (["train.json", "train_memory.json"], "settings"),
    "inference": (["inference.json"], "results::settings"),
}


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    """What the runs read, and where they write."""
    (tmp_path / "datalist.json").write_text("{}")
    torch.save({}, tmp_path / "model.pt")
    card = {"student_backbone": "efficientvit_b0", "embed_dim": 256, "image_size": 64, "structures": ["a"]}
    (tmp_path / "model.json").write_text(json.dumps(card))
    paths = {"datalist": "datalist.json", "checkpoint": "model.pt", "output_dir": "out"}
    return {key: str(tmp_path / name) for key, name in paths.items()}


def settings(run: str, files: dict[str, str], **changes) -> dict:
    """The settings of a run, as its config asks for them; nothing is built."""
    names, key = RUNS[run]
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in names])
    parser.read_meta({"version": "1"})
    given = {key: value for key, value in files.items() if key in parser}
    parser.update({**given, **changes})
    if key == "settings":
        parser[key] = TRAINING
        parser.globals["run_settings"] = run_settings
    return parser.get_parsed_content(key)


def differences(run: str, files: dict[str, str], **changes) -> list[str]:
    before, after = settings(run, files), settings(run, files, **changes)
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


@pytest.mark.parametrize(
    ("run", "change"),
    [
        ("phase 1", {"warmup": 0.2}),
        ("phase 1", {"gradient_clip": 1.0}),
        ("phase 1", {"statistics_batches": 2}),
        ("phase 1", {"distance::weights": [1.0, 0.5]}),
        ("phase 1", {"train::random_transforms::0::prob": 0.1}),
        ("phase 1", {"teachers::medclip::_target_": "another"}),
        ("phase 2", {"prompted_weight": 0.1}),
        ("phase 2", {"iou_weight": 0.1}),
        ("phase 2", {"presence_weight": 0.1}),
        ("phase 2", {"warmup": 0.2}),
        ("phase 2", {"gradient_clip": 1.0}),
        ("phase 2", {"encoder_training": "frozen"}),
        ("phase 2", {"structures": ["tongue"]}),
        ("phase 2", {"random_gamma": [0.9, 1.1]}),
        ("phase 2", {"seed": 1}),
        ("memory", {"presence_weight": 0.1}),
        ("memory", {"warmup": 0.2}),
        ("memory", {"validation_length": 3}),
        ("inference", {"strict": True}),
        ("inference", {"threshold": 0.4}),
        ("inference", {"outputs": ["png"]}),
        ("inference", {"finds_field_of_view": False}),
        ("inference", {"_meta_::version": "2"}),
    ],
)
def test_what_changes_the_result_makes_another_run(run, change, files):
    assert differences(run, files, **change) == list(change)


def test_teachers_statistics_are_of_the_frames_with_their_transforms(files):
    """A run that starts over in its folder with another augmentation must measure them again."""

    def frames_id(**changes) -> str:
        parser = ConfigParser()
        parser.read_config(str(CONFIGS / "distill.json"))
        parser.update({"datalist": files["datalist"], **changes})
        return parser.get_parsed_content("standardizers::frames_id")

    before = frames_id()
    assert before == frames_id(num_workers=3, epochs=9, learning_rate=0.1)
    assert before != frames_id(**{"train::random_transforms::0::prob": 0.1})
    assert before != frames_id(image_size=64)
    Path(files["datalist"]).write_text("[]")
    assert before != frames_id()


@pytest.mark.parametrize(
    ("run", "change"),
    [
        ("phase 1", {"epochs": 99, "val_interval": 3, "num_workers": 2, "checkpoint_every": "1 steps"}),
        ("phase 1", {"resume": False, "device": "cpu", "log_every": 1, "run_name": "x", "experiment_name": "y"}),
        ("phase 1", {"bundle_root": "elsewhere", "output_dir": "elsewhere", "tracking_uri": "elsewhere"}),
        ("phase 2", {"epochs": 99, "compile": True, "pin_memory": True, "train::dataset::cache_rate": 0.0}),
        ("memory", {"epochs": 99, "most_unreadable": 0.5}),
        ("inference", {"input": "another", "batch_size": 1, "device": "cpu", "output_dir": "elsewhere"}),
    ],
)
def test_how_fast_how_long_and_where_does_not(run, change, files):
    changed = {**change, "teachers::medclip::checkpoint": None} if "bundle_root" in change else change
    names = differences(run, files, **changed)
    assert [name for name in names if "checkpoint" not in name] == []


@pytest.mark.parametrize(("run", "key"), [("phase 2", "datalist"), ("inference", "checkpoint")])
def test_of_a_file_it_is_the_content_that_counts(run, key, files, tmp_path):
    moved = tmp_path / "moved" / Path(files[key]).name
    moved.parent.mkdir()
    for file in tmp_path.glob(f"{Path(files[key]).stem}.*"):
        (moved.parent / file.name).write_bytes(file.read_bytes())
    assert differences(run, files, **{key: str(moved)}) == []
    moved.write_bytes(b"others")
    assert differences(run, files, **{key: str(moved)}) == [key]


def test_the_card_beside_weights_counts_with_them(files):
    before = content_of(files["checkpoint"])
    Path(files["checkpoint"]).with_suffix(".json").write_text("{}")
    assert content_of(files["checkpoint"]) != before
    assert content_of(None) is None
    assert content_of("a/name/on/a/hub") == "a/name/on/a/hub"


def test_a_folder_of_weights_counts_with_all_its_files(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = content_of(tmp_path)
    (tmp_path / "config.json").write_bytes(b"2")
    assert content_of(tmp_path) != before


def test_a_resume_that_is_refused_names_what_differs_with_both_values(files):
    saved = settings("phase 2", files)
    with pytest.raises(ValueError, match=r"\(prompted_weight 0.5, now 0.1\): use another output_dir"):
        check_settings(saved, settings("phase 2", files, prompted_weight=0.1), Path("last.pt"))
    Path(files["datalist"]).write_text("[]")
    with pytest.raises(ValueError, match=r"another datalist\)"):
        check_settings(saved, settings("phase 2", files), Path("last.pt"))


def test_settings_are_plain_values_that_a_checkpoint_keeps(files, tmp_path):
    for run in RUNS:
        values = settings(run, files)
        torch.save(values, tmp_path / "settings.pt")
        assert torch.load(tmp_path / "settings.pt", weights_only=True) == values
        assert not set(values) & MAY_DIFFER
        assert json.loads(json.dumps(values)) == values


def test_what_nothing_refers_to_does_not_count():
    parser = ConfigParser({"a": {"b": "@c"}, "c": "$@d + 1", "d": 2, "e": 3})
    assert reachable(parser, "a") == {"a", "c", "d"}


def test_settings_are_asked_for_in_a_config():
    assert running_parser() is None
    with pytest.raises(ValueError, match="is for an expression of a config"):
        run_settings("train::trainer")


def test_what_a_run_is_built_from_is_shown_as_values_classes_and_checksums(files):
    config = {
        "output_dir": "secret",
        "datalist": files["datalist"],
        "rate": 0.1,
        "names": ["x"],
        "teachers": {"a": {"_target_": "torch.nn.ReLU"}},
        "root": ["@output_dir", "@datalist", "@rate", "@names", "@teachers"],
        "unread": 1,
        "shown": "$built_settings('root')",
    }
    parser = ConfigParser(config)
    parser.globals["built_settings"] = built_settings
    shown = parser.get_parsed_content("shown")
    parser.get_parsed_content("root")
    values = {"rate": "0.1", "names": "['x']", "teachers": "a: ReLU", "datalist": content_of(files["datalist"])}
    assert {key: value for key, value in shown().items() if key != "root"} == values


def test_the_root_is_the_packages_wherever_it_is_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Path(package_root()) == CONFIGS.parent
    for run, (names, _) in RUNS.items():
        parser = ConfigParser()
        parser.read_config([str(CONFIGS / name) for name in names])
        assert parser.get_parsed_content("bundle_root") == str(CONFIGS.parent), run


def test_the_entry_that_is_asked_for_is_known_in_every_step():
    parser = ConfigParser({})
    parser.config["run"] = ["$@again", "$1"]
    parser.config["again"] = "$asked_for()"
    parser.globals["asked_for"] = lambda: running_parser()[1]
    assert parser.get_parsed_content("run::0") == "run::0"
