"""The page of the study on real films: claims, tables and what is missing, from records made by hand."""

import itertools
import json
from dataclasses import replace

import pytest

from bundle.laboratory.studies.index import write_index
from bundle.laboratory.studies.real import read_real_study
from bundle.laboratory.studies.real_page import FilmScores, _rows, crossed, write_real_page
from bundle.laboratory.studies.real_report import write_page_again
from bundle.laboratory.studies.record import DICE, HD95, RunRecord, write_records
from tests.laboratory.studies.test_real import STUDY

ARMS = {"random": 0.6, "medclip": 0.65, "rad_dino": 0.7, "both": 0.8}
FILMS = [f"JPCLN{number:03}" for number in range(8)]


def make_record(arm, seed, draw, task="jsrt_2"):
    level = ARMS[arm] + 0.002 * ((seed + 2 * draw) % 3)
    dice = {film: {"heart": level - 0.01 * number, "left_lung": 0.9} for number, film in enumerate(FILMS)}
    hd95 = {film: {"heart": None, "left_lung": 3.5} for film in FILMS}
    times = {"features": 2.0, "distillation": 3.0, "fine-tuning": 1.5, "evaluation": 0.5}
    key = f"{arm} {task} {seed} {draw}"
    splits = {"test": {DICE: dice, HD95: hd95}}
    return RunRecord(key, "fine-tuning", arm, seed, splits, times, {}, "", "", task=task, draw=draw)


@pytest.fixture
def study(tmp_path):
    arms = {"random": {"phase_1": None}, "both": {"phase_1": {"teachers": ["medclip", "rad_dino"]}}}
    arms |= {name: {"phase_1": {"teachers": [name]}} for name in ("medclip", "rad_dino")}
    words = {
        name: f"{name} in words" for name in ("title", "question", "primary", "secondary", "stop_rule", "corrections")
    }
    claims = [
        {"text": f"better than {than}", "task": "jsrt_2", "arm": "both", "than": than, "structures": ["heart"]}
        for than in ("random", "best single")
    ]
    plan = [{"tasks": ["jsrt_2"], "arms": list(arms), "seeds": [0, 1, 2], "draws": [0, 1, 2]}]
    content = {**STUDY, "text": words, "arms": arms, "plan": plan}
    content["claims"] = [{**claim, "expected": "higher"} for claim in claims]
    path = tmp_path / "study.json"
    path.write_text(json.dumps(content))
    return read_real_study(path)


def page_of(study, records, tmp_path):
    probed = {"k": {"arm": "random", "seed": 0, "films": FILMS, "dice": {"9": [[[0.5, None]]], "2": [[[0.4, 0.2]]]}}}
    return write_real_page(study, records, probed, tmp_path).read_text()


ALL = [make_record(*run) for run in itertools.product(ARMS, range(3), range(3))]


def test_the_verdict_of_the_primary_endpoint_comes_first_and_against_the_best_single_teacher(study, tmp_path):
    page = page_of(study, ALL, tmp_path)
    claims = page.split("## jsrt_2")[0]
    assert "- better than random: **held here**: higher than random by 0.200" in claims
    assert "- better than best single: **held here**: higher than rad_dino by 0.100" in claims
    assert "Not run." not in page
    assert (tmp_path / "real_teachers.svg").is_file()
    assert "| both | 9 | " in page
    assert "| jsrt_2 | both | 2.0 | 3.0 | 1.5 | 0.5 |" in page
    assert "| random | 1 | 0.500 | 0.300 |" in page


def test_a_row_that_is_a_claim_has_the_claims_verdict_and_others_are_corrected_for_both(study):
    scores, how = FilmScores(ALL), {"split": "test", "structures": ["heart"]}
    question = ("jsrt_2", "both", "random", "test", ("heart",))
    claim = replace(scores.answer(question), corrected_p_value=0.5, num_comparisons=7)
    claimed = {question: claim, ("jsrt_5", *question[1:]): claim}
    rows = {row.name: row.comparison for row in _rows(study, scores, "jsrt_2", "random", how, claimed)}
    assert rows["both"] == claim
    assert rows["random"] is None
    assert rows["medclip"].num_comparisons == 4  # three rows, one of them a claim, and the other claim


def test_the_index_has_the_claims(study, tmp_path):
    page_of(study, ALL, tmp_path)
    index = write_index(tmp_path).read_text()
    assert "- better than random: **held here**" in index
    assert "[real teachers](real_teachers.md)" in index
    assert "## jsrt_2" not in index


def test_runs_that_are_missing_are_counted_and_the_rest_is_compared(study, tmp_path):
    page = page_of(study, [record for record in ALL if (record.seed, record.draw) != (2, 2)], tmp_path)
    assert "4 of 36 runs are not there" in page
    assert "| both | 8 | " in page


def test_without_a_run_nothing_is_claimed(study, tmp_path):
    page = page_of(study, [], tmp_path)
    assert "- better than random: **could not be told here** (no run in common)." in page
    assert "36 of 36 runs are not there" in page


def test_the_page_is_written_from_the_records_of_another_folder_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no real_results\.json in .*: name the folder of the records"):
        write_page_again(tmp_path)
    given, target = tmp_path / "given", tmp_path / "target"
    write_records({record.key: record for record in ALL}, given / "real_results.json")
    page = write_page_again(given, target).read_text()
    assert page.startswith("# Agglomeration with real teachers")
    assert "runs are not there" in page
    assert {path.name for path in given.iterdir()} == {"real_results.json"}


def test_the_largest_crossed_part_by_hand():
    assert crossed([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert crossed([(0, 0), (1, 0), (2, 0), (0, 1)]) == {(0, 0), (1, 0), (2, 0)}
    assert crossed([]) == set()


def test_a_film_without_a_value_is_left_out():
    scores = FilmScores([make_record("random", 0, 0)])
    assert scores.films("jsrt_2", "random", structures=["heart"], measure=HD95) == {}
    assert scores.films("jsrt_2", "random", measure=HD95)[0, 0, FILMS[0]] == 3.5
