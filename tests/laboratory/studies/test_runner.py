"""Studies run by the real commands, at the smallest scale: shared stages, records, and nothing done twice."""

import json
import re
import sys
import textwrap

import pytest
import torch

from bundle.laboratory.studies.definition import (
    FOLDER,
    EvidenceStudy,
    Phase,
    Scale,
    Variant,
    read_study,
    study_names,
    teacher_configs,
)
from bundle.laboratory.studies.record import read_records, read_scores
from bundle.laboratory.studies.report import found, run_studies, write_machinery
from bundle.laboratory.studies.runner import StudyRunner
from bundle.paths import ROOT
from bundle.weights import file_sha256

SCALE = Scale(
    "tiny",
    (0,),
    {"num_train": 2, "num_validation": 1, "num_test": 1, "num_hard_test": 1, "size": 64, "num_frames": 2},
    {"image_size": 64, "epochs": 1, "batch_size": 2, "statistics_batches": 1, "log_every": 1},
    {"image_size": 64, "epochs": 1, "batch_size": 2},
    num_views=1,
)
DISTILLED = Phase(("distill.json",), {}, ("medclip", "edges"))
STUDY = EvidenceStudy(
    "tiny",
    "Freezing",
    "Does it matter?",
    "Nothing.",
    "full",
    (
        Variant("full", (DISTILLED,), Phase(("train.json",))),
        Variant("frozen", (DISTILLED,), Phase(("train.json",), {"encoder_training": "frozen"})),
    ),
)


PAGE = (ROOT / "docs" / "how-to" / "studies.md").read_text()
CODE, TEACHER, VARIANT = re.findall(
    r"    ```(?:python|json)\n(.*?)    ```", PAGE.partition("## Add a teacher")[2], re.DOTALL
)


@pytest.fixture(scope="module")
def own_teacher(tmp_path_factory):
    """The teacher of docs/how-to/studies.md: its one file, with weights, and its one entry."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "edges.py").write_text(textwrap.dedent(CODE))
    sys.path.insert(0, str(folder))
    from edges import EdgeEncoder

    torch.save(EdgeEncoder().state_dict(), folder / "edges.pt")
    entry = json.loads(TEACHER)
    entry["edges"] |= {"_target_": "edges.load_edges", "checkpoint": str(folder / "edges.pt")}
    yield entry
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, own_teacher):
    folder = tmp_path_factory.mktemp("study")
    runner = StudyRunner(folder, folder / "results.json", SCALE, teachers={**teacher_configs(), **own_teacher})
    runner.run([STUDY])
    return runner


def test_every_variant_is_trained_and_scored_on_both_splits(finished):
    records = found(STUDY, finished.planner, finished.records)
    assert [record.variant for record in records] == ["full", "frozen"]
    for record in records:
        assert {split: list(scores["dice"]) for split, scores in record.splits.items()} == {
            "test": ["p003"],
            "hard_test": ["h000"],
        }
    assert all(record.measured["CPU minutes"] > 0 for record in records)
    stages = [run.stages[-1].folder for run in finished.planner.runs(STUDY)]
    full, frozen = (file_sha256(folder / "model.pt") for folder in stages)
    assert full != frozen


def test_a_distillation_is_described_with_what_it_learned_of_whom(finished):
    (phase,) = found(STUDY, finished.planner, finished.records)[0].phases
    assert phase["teachers"] == ["medclip", "edges"]
    assert set(phase["val_loss"]) == set(phase["val_cosine"]) == {"medclip", "edges"}
    assert set(phase["unexplained"]) == {"medsam2", "rad_dino", "medclip", "placebo", "edges"}
    assert all(0 < value < 2 for value in phase["unexplained"].values())
    assert set(phase["curves"]) == {"weight/medclip", "weight/edges", "weight_entropy"}


def test_the_variant_of_the_how_to_names_its_teacher():
    assert json.loads(VARIANT)["edges"]["phase_1"]["teachers"] == list(json.loads(TEACHER))


def test_a_run_whose_data_are_not_there_is_passed_over(finished):
    phase = Phase(("distill.json",), {}, ("medclip",), data="elsewhere")
    finished.run([EvidenceStudy("tiny", "T", "Q", "P", "full", (Variant("full", (phase,), Phase(("train.json",))),))])
    assert len(finished.records) == 2


def test_the_shared_distillation_was_done_once(finished):
    stages = sorted(path.name.split("-")[0] for path in finished.planner.folder.iterdir())
    assert stages == ["distill", "train", "train"]


def test_what_is_recorded_is_not_run_again(finished, monkeypatch):
    again = StudyRunner(finished.folder, finished.path, SCALE, teachers=finished.planner.teachers)
    monkeypatch.setattr(again.stages, "_run", lambda *_: pytest.fail("a finished run was started"))
    again.run([STUDY])
    assert found(STUDY, again.planner, again.records) == found(STUDY, finished.planner, finished.records)


def test_records_are_a_line_each_and_are_read_as_they_were_written(finished):
    assert read_records(finished.path) == finished.records
    lines = finished.path.read_text().splitlines()
    assert len(json.loads("".join(lines))) == len(lines) - 2 == 2


def test_the_report_has_a_table_and_says_that_one_seed_is_too_few(finished, tmp_path):
    write_machinery([STUDY], finished.planner, finished.records, tmp_path)
    page = (tmp_path / "machinery.md").read_text()
    assert "## Freezing\n" in page
    row = next(line for line in page.splitlines() if line.startswith("| frozen | 1 |"))
    assert "too few runs to tell" in row


def test_the_page_has_all_studies_whichever_were_run(tmp_path, finished):
    studies = [read_study(FOLDER / f"{name}.json") for name in study_names()]
    write_machinery([STUDY, *studies], finished.planner, finished.records, tmp_path)
    page = (tmp_path / "machinery.md").read_text()
    assert all(f"## {study.title}\n" in page for study in studies)
    assert page.count("Not run.") == len(studies)


def test_without_any_run_the_index_says_so_and_nothing_is_made(tmp_path):
    index = run_studies(["labels"], "small", tmp_path / "runs", tmp_path / "out", runs_none=True).read_text()
    assert index.count("Not measured yet.") == 2
    assert not (tmp_path / "runs").exists()


def test_a_run_that_fails_is_named_with_its_last_words_and_the_others_go_on(finished):
    broken = Variant("broken", (), Phase(("train.json",), {"encoder_training": "half"}))
    study = EvidenceStudy("tiny", "T", "Q", "P", "full", (broken, *STUDY.variants))
    with pytest.raises(RuntimeError, match=r"1 of 1 runs failed:\ntiny: broken, seed 0: train-.* 'half'.*log.txt\)"):
        finished.run([study])
    assert len(found(study, finished.planner, finished.records)) == 2


def test_scores_are_read_per_patient_and_structure(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("patient,structure,frames,dice,hd95\np1,c2,3,0.81234,\np1,c3,3,,\np2,c2,3,0.5,2.25\n")
    assert read_scores(path) == {
        "dice": {"p1": {"c2": 0.8123, "c3": None}, "p2": {"c2": 0.5}},
        "hd95": {"p1": {"c2": None, "c3": None}, "p2": {"c2": 2.25}},
    }
