"""The page of the synthetic studies, from their records, also from those whose configs have changed since."""

from dataclasses import replace
from pathlib import Path

import pytest

from bundle.laboratory.studies.definition import Claim, EvidenceStudy, Phase, Scale, Variant, teacher_configs
from bundle.laboratory.studies.index import write_index
from bundle.laboratory.studies.plan import Planner
from bundle.laboratory.studies.report import found, name_records, write_machinery
from tests.laboratory.studies.test_statistics import run

VARIANTS = tuple(
    Variant(name, (), Phase(("train.json",), {"lr": rate})) for rate, name in enumerate(("full", "frozen"))
)
CLAIMS = (Claim("freezing helps", "frozen", "full", "higher"), Claim("or not", "full", "frozen", "higher", False))
STUDY = EvidenceStudy(
    "tiny", "Freezing", "Does it matter?", "Nothing.", "full", VARIANTS, CLAIMS, ("weights", "teachers")
)
OTHER = replace(STUDY, name="other", title="Again", claims=())
SCALE = Scale("tiny", (0, 1, 2), {}, {"epochs": 1}, {"epochs": 1})


def phase(share: float) -> dict:
    curves = {f"weight/{name}": [[0, part], [1, part]] for name, part in (("a", share), ("b", 1 - share))}
    curves["weight_entropy"] = [[0, 0.5], [1, 0.5]]
    return {"teachers": ["a", "b"], "curves": curves, "unexplained": {"a": 0.2, "b": 0.4, "c": 0.9}}


@pytest.fixture
def planner():
    return Planner(Path("stages"), Path("phantom"), SCALE, teacher_configs())


@pytest.fixture
def records(planner):
    """Frozen is lower by 0.2 and collapses."""
    made = {}
    for one in planner.runs(STUDY):
        shift, share = (0.0, 0.5) if one.variant == "full" else (-0.2, 0.99)
        patients = {f"p{n}": {"c2": 0.5 + shift + 0.01 * ((n + one.seed) % 3)} for n in range(8)}
        record = run(one.variant, one.seed, patients)
        made[one.key] = replace(record, key=one.key, study="tiny", phases=[phase(share)])
    return made


def test_a_study_has_a_table_its_claims_and_its_figure(planner, records, tmp_path):
    index = write_machinery([STUDY], planner, records, tmp_path).read_text()
    page = (tmp_path / "machinery.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| frozen |")]
    assert "-0.200 [-0.200, -0.200] | lower |" in row
    assert row.endswith("| 3 of 3 | 0.300 ± 0.000 |")
    paper, others = index.split("Of the paper:")[1].split("Others:")
    assert "freezing helps: **the opposite was seen here**" in paper
    assert "or not: **held here**" in others
    assert "(tiny_weights.svg)" in page
    assert (tmp_path / "tiny_weights.svg").is_file()


def test_tables_that_share_runs_say_so(planner, records, tmp_path):
    write_machinery([STUDY, OTHER], planner, records, tmp_path)
    page = (tmp_path / "machinery.md").read_text()
    assert "2 of 2 share the same 3 runs" in page
    assert "- 3 runs in 2 tables: *full* in Freezing; *full* in Again" in page
    write_machinery([STUDY], planner, records, tmp_path)
    assert "6 runs, each in one table." in (tmp_path / "machinery.md").read_text()


def test_runs_stay_readable_when_configs_change(planner, records):
    named = name_records([STUDY, OTHER], planner, records)
    changed = Planner(Path("stages"), Path("phantom"), replace(SCALE, phase_2={"epochs": 2}), teacher_configs())
    for study in (STUDY, OTHER):
        before, after = (found(study, one, named) for one in (planner, changed))
        assert [(one.key, one.study, one.variant) for one in before] == [
            (one.key, one.study, one.variant) for one in after
        ]
        assert len(after) == 6
    assert name_records([STUDY], changed, named) == named
    assert found(STUDY, changed, records) == []  # never named


def test_the_index_has_real_teachers_first_and_a_page_without_claims_is_refused(tmp_path):
    (tmp_path / "real_teachers.md").write_text("x\n<!-- claims -->\n- it helps\n<!-- /claims -->\ny\n")
    (tmp_path / "slices.md").write_text("")
    index = write_index(tmp_path).read_text()
    assert index.index("- it helps") < index.index("A check of the machinery") < index.index("Not measured yet.")
    assert "[real teachers](real_teachers.md)" in index
    assert "(slices.md)" in index
    assert "(inside.md)" not in index
    (tmp_path / "machinery.md").write_text("no claims")
    with pytest.raises(ValueError, match=r"machinery\.md: expected its claims between the lines"):
        write_index(tmp_path)
