"""The study on real films, with drawn ones and the shipped teachers: order, resuming, records."""

import json
import os

import pytest

from bundle.data.datalist import read_datalist
from bundle.laboratory.studies.definition import teacher_configs
from bundle.laboratory.studies.real import RealStudyRunner, read_real_study, real_teacher_configs
from bundle.laboratory.studies.real_films import RealFilms
from bundle.laboratory.studies.real_page import BEST_SINGLE
from bundle.laboratory.studies.stage_runner import minutes
from tests.laboratory.studies.real_films import make_folders

STUDY = {
    "text": {"title": "T"},
    "seeds": [0],
    "num_views": 1,
    "phase_1": {"image_size": 64, "epochs": 1, "batch_size": 4, "statistics_batches": 1, "log_every": 1},
    "phase_2": {"image_size": 64, "steps": 2, "batch_size": 2},
    "arms": {"random": {"phase_1": None}, "one": {"phase_1": {"teachers": ["medclip"]}}},
    "tasks": {
        "jsrt_2": {"films": "jsrt", "labelled": 2},
        "montgomery_2": {"films": "montgomery", "labelled": 2, "elsewhere": ["shenzhen"]},
    },
    "plan": [
        {"tasks": ["jsrt_2"], "arms": ["random"], "draws": [0]},
        {"tasks": ["montgomery_2"], "arms": ["one"], "draws": [0]},
    ],
    "tuning": {
        "task": "jsrt_2",
        "seed": 0,
        "draw": 9,
        "rates": [0.001, 0.0003],
        "structures": ["heart"],
        "borrowed": {"one": "random"},
    },
    "probe": {"films": "jsrt", "labelled": [9, 2], "draws": 2},
    "zero_labels": {"films": ["montgomery", "shenzhen"], "teacher": "lite_medsam"},
    "claims": [],
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return RealFilms(*make_folders(folder), folder / "lists")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.json"
    path.write_text(json.dumps(STUDY))
    return read_real_study(path)


@pytest.fixture(scope="module")
def finished(films, study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runner = RealStudyRunner(study, films, folder, folder / "results.json", teachers=teacher_configs())
    assert runner.run() == {}
    return runner


def test_every_run_is_recorded_with_films_and_minutes(finished):
    runs = [record for record in finished.records.values() if record.study == "fine-tuning"]
    found = {(record.variant, record.task, record.seed, record.draw): record for record in runs}
    assert list(found) == [("random", "jsrt_2", 0, 0), ("one", "montgomery_2", 0, 0)]
    assert set(found["random", "jsrt_2", 0, 0].measured) == {"features", "distillation", "fine-tuning", "evaluation"}
    assert found["random", "jsrt_2", 0, 0].measured["distillation"] == 0
    assert found["one", "montgomery_2", 0, 0].measured["distillation"] > 0
    scores = found["one", "montgomery_2", 0, 0].splits
    assert all(name.startswith("MCU") for name in scores["test"]["dice"])
    assert all(name.startswith("CHN") for name in scores["hard_test"]["dice"])


def test_an_arm_learns_at_the_rate_that_is_best_on_validation_films(finished):
    tried = finished.tried("random")
    chosen = finished.rate("one")
    assert set(tried) == {0.001, 0.0003}
    assert finished.tried("one") == tried
    assert tried[chosen] == max(tried.values())
    for arm, task in (("random", "jsrt_2"), ("one", "montgomery_2")):
        run = finished.plan(arm, task, 0, 0)
        assert run.stages[-1].keys["encoder_learning_rate"] == chosen
        assert run.key in finished.records
    films = [record.splits["validation"]["dice"] for record in finished.records.values() if record.study == "tuning"]
    assert len(films) == 2
    assert films[0].keys() == films[1].keys()


def test_students_teachers_and_position_are_probed_with_every_draw(finished):
    found = {result["arm"]: result for result in finished.probe.results.values()}
    assert set(found) == {"random", "one", "teacher: medclip", "position alone"}
    for result in found.values():
        assert {number: len(draws) for number, draws in result["dice"].items()} == {"9": 1, "2": 2}
        assert all(len(film) == 5 for film in result["dice"]["2"][0])
        assert len(result["dice"]["2"][0]) == len(result["films"]) == 5


def test_what_is_recorded_is_not_run_again(finished, study, films):
    again = RealStudyRunner(study, films, finished.path.parent, finished.path, teachers=teacher_configs())
    assert again._wanted_jobs() == {}


def test_films_that_were_copied_anew_are_found_in_the_store_again(finished, films):
    filling = finished._filling("medclip")
    before = minutes(filling.folder / "features")
    for path in films.root.parent.rglob("images/*.png"):
        os.utime(path, ns=(1, 1))
    finished.stages.fill(filling)
    finished.stages.train(finished.plan("one", "montgomery_2", 1, 0).stages[0])
    assert minutes(filling.folder / "features") == before


def test_draws_are_nested_and_no_film_is_in_two_sections(films):
    few, more = (read_datalist(films.task(f"some_{number}", "jsrt", number, 3))["training"] for number in (2, 6))
    assert more[:2] == few
    assert read_datalist(films.task("other", "jsrt", 2, 4))["training"] != few
    lists = [films.unlabelled(), films.task("lungs", "jsrt_lungs", 2, 0, ["montgomery", "shenzhen"])]
    trained, tested = (read_datalist(path) for path in lists)
    seen = {item["patient"] for item in trained["training"] + trained["validation"]}
    assert not seen & {item["patient"] for item in tested["test"] + tested["hard_test"]}


def test_the_shipped_study_names_arms_tasks_teachers_and_sets_that_there_are(films):
    study, known = read_real_study(), real_teacher_configs()
    assert {study.probe["films"], *study.zero_labels["films"]} <= set(films.sections)
    taught = {name for arm in study.arms.values() for phase in arm.phase_1 for name in phase.teachers}
    assert taught - {"proxy"} <= set(known)
    for claim in study.claims:
        assert {claim["arm"], claim["than"]} <= {*study.arms, BEST_SINGLE}
        assert claim["task"] in study.tasks
    assert study.zero_labels["teacher"] in known
