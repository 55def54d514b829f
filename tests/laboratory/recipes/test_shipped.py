"""What the weights in models/teachers promise. They are part of the repository, so nothing here is skipped."""

import json
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from bundle.laboratory.recipes.catalog import SMALL_TEACHERS, find_small_teacher
from bundle.laboratory.recipes.frames import make_frames
from bundle.laboratory.recipes.register import REGISTER, load_shipped, pairwise_cka, read_register
from bundle.weights import file_sha256

FOLDER = Path(__file__).resolve().parents[3] / "models/teachers"
MOST_BYTES = 15_000_000


def test_all_three_small_teachers_ship():
    assert set(read_register(FOLDER)["teachers"]) == set(SMALL_TEACHERS)


@pytest.mark.parametrize("name", SMALL_TEACHERS)
def test_the_register_describes_the_file_that_ships(name):
    entry = read_register(FOLDER)["teachers"][name]
    path = FOLDER / entry["file"]
    assert file_sha256(path) == entry["sha256"]
    assert path.stat().st_size == entry["bytes"] <= MOST_BYTES
    assert entry["license"] == "Apache-2.0"


@pytest.mark.parametrize("name", SMALL_TEACHERS)
def test_a_file_says_in_its_own_header_what_it_is(name):
    entry = read_register(FOLDER)["teachers"][name]
    with safe_open(FOLDER / entry["file"], "pt") as file:
        header = file.metadata()
        precisions = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118 - no mapping
    assert "no patient data" in json.loads(header["synthetic"])
    assert json.loads(header["schedule"]) == entry["schedule"]
    assert precisions == {torch.float16}


@pytest.mark.parametrize("name", SMALL_TEACHERS)
def test_the_recipes_defaults_are_those_of_the_shipped_weights(name):
    schedule = read_register(FOLDER)["teachers"][name]["schedule"]
    now = SMALL_TEACHERS[name].schedule
    assert schedule == {key: getattr(now, key) for key in schedule}


@pytest.mark.parametrize("name", SMALL_TEACHERS)
def test_training_made_a_teacher_better_at_its_specialty(name):
    entry = read_register(FOLDER)["teachers"][name]
    measured, headline = entry["measured"], entry["headline"]
    assert measured["trained"][headline] > measured["untrained"][headline] + 0.05


def test_a_box_says_less_than_medsam2_makes_of_it():
    measured = read_register(FOLDER)["teachers"]["medsam2"]["measured"]["trained"]
    assert measured["box_prompt_dice"] > measured["filled_box_dice"] + 0.1


def test_shipped_teachers_load_strictly_and_see_the_same_frames_differently():
    frames = make_frames(num_patients=2, frames_per_patient=2, size=128, seed=1)
    teachers = {name: load_shipped(FOLDER, name) for name in SMALL_TEACHERS}
    assert all(teacher.is_frozen for teacher in teachers.values())
    similarity = pairwise_cka(teachers, frames)
    assert len(similarity) == len(list(combinations(SMALL_TEACHERS, 2)))
    assert max(similarity.values()) < 0.9


def test_the_model_card_shows_the_registers_checksums_and_says_synthetic():
    card = (FOLDER / "README.md").read_text()
    assert "synthetic" in card
    for entry in read_register(FOLDER)["teachers"].values():
        assert entry["sha256"] in card


def test_an_unknown_small_teacher_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="must be one of medsam2, rad_dino, medclip, got 'sam'"):
        find_small_teacher("sam")


def test_a_folder_without_register_has_no_teachers(tmp_path):
    assert not (tmp_path / REGISTER).exists()
    assert read_register(tmp_path)["teachers"] == {}
