"""Every config parses and says nothing in vain."""

import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from bundle.engines.config_keys import is_text_key
from bundle.engines.preflight import check_keys
from bundle.structures import STRUCTURES

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STACKS = {
    "distill": ["distill.json"],
    "distill smoke": ["distill.json", "smoke.json"],
    "distill paper": ["distill.json", "paper.json"],
    "train": ["train.json"],
    "train smoke": ["train.json", "smoke.json"],
    "train paper": ["train.json", "paper_train.json"],
    "train, distillation retained": ["distill.json", "train.json", "retain_distillation.json"],
    "train without distillation": ["train.json", "no_distillation.json"],
    "fine-tune": ["train.json", "fine_tune.json"],
    "memory": ["train.json", "train_memory.json"],
    "memory smoke": ["train.json", "train_memory.json", "smoke.json"],
    "inference in real time": ["inference.json", "realtime.json"],
    "a folder that is watched": ["inference.json", "watch.json"],
    "the shipped model, first half": ["train.json", "fine_tune.json", "laboratory/overlays/shipped_model_coarse.json"],
    "the shipped model": ["train.json", "fine_tune.json", "laboratory/overlays/shipped_model.json"],
    "unet": ["train.json", "laboratory/overlays/unet.json"],
    "dynunet": ["train.json", "laboratory/overlays/unet.json", "laboratory/overlays/dynunet.json"],
    "unet in a given time": ["train.json", "laboratory/overlays/unet.json", "laboratory/overlays/time_budget.json"],
    "evaluate": ["train.json", "evaluate.json"],
    "distill lungs": ["distill.json", "laboratory/overlays/lungs.json"],
    "distill real teachers": ["distill.json", "real_teachers.json"],
    "distill real teachers, stored features": ["distill.json", "stored_features.json", "real_teachers.json"],
    "train lungs": ["train.json", "laboratory/overlays/lungs_train.json"],
    "evaluate lungs": ["train.json", "laboratory/overlays/lungs_train.json", "evaluate.json"],
    "unet on lungs": [
        "train.json",
        "laboratory/overlays/lungs_train.json",
        "laboratory/overlays/unet.json",
        "laboratory/overlays/time_budget.json",
    ],
    "inference": ["inference.json"],
    "distill, stored features": ["distill.json", "stored_features.json"],
    "fill the store": ["distill.json", "stored_features.json", "cache_features.json"],
    "evaluate without labels": ["distill.json", "zero_label.json"],
    "distill with prompts in the loop": ["distill.json", "real_teachers.json", "prompts_in_the_loop.json"],
}


def paths(stack: str) -> list[Path]:
    return [CONFIGS / name for name in STACKS[stack]]


def test_every_config_is_in_a_stack_that_is_tested():
    tested = {name for names in STACKS.values() for name in names}
    there = [*CONFIGS.glob("*.json"), *CONFIGS.glob("laboratory/overlays/*.json")]
    assert {path.relative_to(CONFIGS).as_posix() for path in there} - {"metadata.json"} == tested


@pytest.mark.parametrize("stack", STACKS)
def test_no_key_is_without_effect(stack):
    check_keys(paths(stack))


@pytest.mark.parametrize("stack", STACKS)
def test_every_reference_has_something_to_refer_to(stack):
    parser = ConfigParser()
    parser.read_config([str(path) for path in paths(stack)])
    parser.read_meta(str(CONFIGS / "metadata.json"))
    parser.parse()
    text = json.dumps(parser.config)
    assert "@" in text
    for item in parser.ref_resolver.items.values():
        for reference in parser.ref_resolver.find_refs_in_config(item.get_config(), id=item.get_id()):
            assert reference in parser.ref_resolver.items, f"{item.get_id()} refers to {reference}"


@pytest.mark.parametrize("stack", STACKS)
def test_run_is_another_name_for_what_a_stack_does_and_both_together_are_one_run(stack):
    """The model zoo's habit is ``run``; MONAI Label gives no name, and all entries of the config are evaluated."""
    parser = ConfigParser()
    parser.read_config([str(path) for path in paths(stack)])
    names = [name for name in ("training", "evaluating", "run") if name in parser]
    (steps,) = [parser[name] for name in names if isinstance(parser[name], list)]
    assert {parser[name] for name in names if parser[name] is not steps} <= {"@training", "@evaluating", "@run"}
    done: list[int] = []
    entries = {name: parser[name] for name in names if parser[name] is not steps}
    own = next(name for name in names if parser[name] is steps)
    small = ConfigParser({**entries, own: ["$done.append(1)", "$done.append(2)"]})
    small.globals["done"] = done
    small.get_parsed_content("")
    assert done == [1, 2]
    assert steps[0] == "$preflight(@output_dir)"
    assert parser["initialize"][0] == "$check_config()"


@pytest.mark.parametrize("stack", ["distill", "train", "memory"])
def test_every_training_refuses_fewer_items_than_a_batch(stack):
    parser = ConfigParser()
    parser.read_config([str(path) for path in paths(stack)])
    parser["train::dataset"], parser["train::preprocessing"] = ["one"], None
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("train::dataloader")
    assert f"a batch of {parser['batch_size']}, but the data list has 1 to train on" in str(error.value.__cause__)


def test_paths_and_names_in_the_configs_have_the_keys_by_which_they_are_known_as_texts():
    for stack in STACKS:
        parser = ConfigParser()
        parser.read_config([str(path) for path in paths(stack)])
        for key, value in parser.config.items():
            if isinstance(value, str) and "@bundle_root +" in value:
                assert is_text_key(key), key


@pytest.mark.parametrize("name", ["distill", "train", "memory", "inference"])
def test_other_programs_take_the_parts_from_anywhere(name, tmp_path, monkeypatch):
    """As ``monai.bundle.load`` and ``create_workflow`` do; nothing is looked for or written before a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["python"])
    trained = {"checkpoint": str(CONFIGS.parent / "models" / "model.pt")} if name == "memory" else {}
    kind = "inference" if name == "inference" else "train"
    workflow = ConfigWorkflow([str(path) for path in paths(name)], workflow_type=kind, **trained)
    workflow.initialize()
    assert workflow.bundle_root == str(CONFIGS.parent)
    assert type(workflow.parser.get_parsed_content("student")).__name__ == "StudentEncoder"
    assert list(tmp_path.iterdir()) == []


def test_metadata_names_the_structures_in_channel_order():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert [output["channel_def"][str(index)] for index in range(output["num_channels"])] == list(STRUCTURES)
    assert metadata["changelog"][metadata["version"]]


def test_metadata_is_what_the_bundle_specification_asks_for(bundle_root):
    """By our own schema, and by MONAI's where it is beside the project."""
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    monais = bundle_root.parent / "shared" / "reference" / metadata["schema"].rpartition("/")[2]
    for path in [Path(__file__).with_name("metadata_schema.json"), *([monais] if monais.is_file() else [])]:
        schema = json.loads(path.read_text())
        jsonschema.validate(metadata, schema)
        for key in ("task", "network_data_format"):
            with pytest.raises(jsonschema.ValidationError, match=f"'{key}' is a required property"):
                jsonschema.validate({name: value for name, value in metadata.items() if name != key}, schema)


def test_configs_name_no_absolute_path():
    files = list(CONFIGS.rglob("*.json"))
    assert len(files) >= 8
    for path in files:
        assert '"/' not in path.read_text(), path.name


def test_configs_are_read_in_minutes():
    """Wiring only: what loops, decides or is found by its place in a list is Python's."""
    sizes = {path.name: len(path.read_text().splitlines()) for path in CONFIGS.glob("*.json")}
    assert max(sizes.values()) <= 240, sizes
    for path in CONFIGS.glob("*.json"):
        for line in path.read_text().splitlines() if path.name != "metadata.json" else ():
            assert len(line) <= 120, f"{path.name}: {line}"
            assert not re.search(r'"\$.*\b(for|if|lambda)\b', line), f"{path.name}: {line}"
            assert not re.match(r'\s*"\+?[\w:]+::\d+(::|")', line), f"{path.name}: {line}"


@pytest.mark.parametrize(
    ("stack", "checkpoint"),
    [
        ("evaluate", "checkpoint"),
        ("inference", "checkpoint"),
        ("memory", "checkpoint"),
        ("fine-tune", "segmenter_checkpoint"),
    ],
)
def test_what_loads_a_model_takes_its_settings_from_the_models_card(tmp_path, stack, checkpoint):
    card = {"student_backbone": "repvit_m0_9", "embed_dim": 128, "image_size": 96, "structures": ["tongue", "c2"]}
    (tmp_path / "model.json").write_text(json.dumps(card))
    parser = ConfigParser()
    parser.read_config([str(path) for path in paths(stack)])
    parser[checkpoint] = str(tmp_path / "model.pt")
    assert {key: parser.get_parsed_content(key) for key in card} == card


@pytest.mark.parametrize("stack", ["train", "train, distillation retained"])
def test_phase_2_takes_its_students_backbone_from_the_students_card(tmp_path, stack):
    (tmp_path / "student.json").write_text(json.dumps({"student_backbone": "repvit_m0_9", "embed_dim": 128}))
    for folder, backbone in ((tmp_path / "nowhere", "efficientvit_b0"), (tmp_path, "repvit_m0_9")):
        parser = ConfigParser()
        parser.read_config([str(path) for path in paths(stack)])
        parser["student_checkpoint"] = str(folder / "student.pt")
        assert parser.get_parsed_content("student_backbone") == backbone
