"""A study's Markdown: every number where a reader looks for it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from bundle.studies.record import RunRecord
from bundle.studies.tables import StudyText, study_section

TEXT = StudyText(
    title="Teacher sets",
    question="Do three teachers give a better student than one?",
    claim="About +2% Dice with three teachers.",
    reference="MedSAM2",
    order=["MedSAM2", "MedSAM2 | RAD-DINO", "three teachers", "never run"],
    command="python scripts/study.py teacher_sets",
    measured=["seconds", "parameters"],
)


def runs_of(variant: str, means: list[float], split: str = "test") -> list[RunRecord]:
    """A run per mean; six patients about it, none with c4."""
    records = []
    for seed, mean in enumerate(means):
        shifts = np.linspace(-0.02, 0.02, 6)
        patients = {
            f"p{number}": {"bolus": mean + shift, "c4": None, "upper_sphincter": mean + shift}
            for number, shift in enumerate(shifts)
        }
        measured = {"seconds": 120.0 + 2 * seed, "parameters": 4_100_000}
        scale = {"image_size": 128, "epochs": 20}
        finished = f"2026-11-2{seed}T13:00:00Z"
        records.append(
            RunRecord("key", "study", variant, seed, {split: {"dice": patients}}, measured, scale, finished, "2 cores")
        )
    return records


RECORDS = [
    *runs_of("MedSAM2", [0.700, 0.702, 0.704]),
    *runs_of("MedSAM2 | RAD-DINO", [0.750, 0.752, 0.755]),
    *runs_of("three teachers", [0.71]),
]


def cells(section: str, first: str) -> list[str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    (row,) = [row for row in rows if re.fullmatch(f'(<a id=".*"></a>)?{re.escape(first)}', row[0])]
    return [first, *row[1:]]


def test_the_main_table_has_a_row_per_variant_in_the_studys_order():
    section = study_section(RECORDS, TEXT)
    columns = ["variant", "seeds", "Dice, test", "difference, test", "p, test", "verdict, test", "HD95 (pixels), test"]
    assert cells(section, "variant") == [*columns, "seconds", "parameters"]
    reference = ["MedSAM2", "3", "0.702 ± 0.002", "reference", "–", "–", "–", "122", "4.1 M"]
    assert cells(section, "MedSAM2") == reference
    one_seed = ["three teachers", "1", "0.710", "+0.010", "–", "too few runs to tell", "–", "120", "4.1 M"]
    assert cells(section, "three teachers") == one_seed
    assert cells(section, "never run") == ["never run", "0", "not run", "–", "–", "–", "–", "–", "–"]


def test_links_lead_to_the_row_of_a_variant():
    lines = study_section(RECORDS, TEXT).splitlines()
    assert sum(line.startswith('| <a id="three-teachers"></a>three teachers | 1 |') for line in lines) == 1
    assert sum(line.startswith('| <a id="medsam2-rad-dino"></a>') for line in lines) == 1


def test_a_difference_stands_with_its_interval_and_verdict_and_a_bar_in_a_name_breaks_no_table():
    row = cells(study_section(RECORDS, TEXT), "MedSAM2 &#124; RAD-DINO")
    # 0.050, 0.050, 0.051 in every patient: the interval is the range of the seeds.
    assert row[2:4] == ["0.752 ± 0.003", "+0.050 [+0.050, +0.051]"]
    assert row[4:6] == ["< 0.001", "higher"]


def test_question_claim_scale_and_findings_are_there_in_this_order():
    section = study_section(RECORDS, TEXT)
    scale = "**Scale.** image size 128; epochs 20; seeds 0, 1, 2; held-out synthetic patients: 6 in test; 2 cores. "
    lines = [
        "## Teacher sets",
        "**Question.** Do three teachers give a better student than one?",
        "**The paper.** About +2% Dice with three teachers.",
        scale + "`python scripts/study.py teacher_sets`, finished 2026-11-22.",
        "- MedSAM2 | RAD-DINO. test: higher than MedSAM2 by 0.050 (interval +0.050 to +0.051, p < 0.001).",
        "- three teachers. test: too few runs to tell (1 seed, 6 patients).",
        "- never run. test: not compared, no run in common with MedSAM2.",
    ]
    found = section.splitlines()
    assert [line for line in found if line in lines] == lines


def test_the_table_per_structure_is_folded_and_has_the_variants_that_were_run_as_columns():
    section = study_section(RECORDS, TEXT)
    assert section.count("<details>") == section.count("</details>") == 1
    folded = section[section.index("<details>") :]
    assert folded.startswith("<details>\n<summary>Mean Dice per structure, test</summary>\n\n| structure |")
    assert cells(folded, "structure")[1:] == ["MedSAM2", "MedSAM2 &#124; RAD-DINO", "three teachers"]
    assert cells(folded, "upper sphincter") == ["upper sphincter", "0.702", "0.752", "0.710"]
    assert cells(folded, "c4") == ["c4", "–", "–", "–"]


def test_every_split_has_its_columns_its_findings_and_its_table_of_structures():
    hard = runs_of("three teachers", [0.6], split="hard_test")[0]
    both = RECORDS[-1].splits | hard.splits
    last = RunRecord("key", "study", "three teachers", 0, both, {}, {"image_size": 256}, "2026-12-01", "a GPU")
    section = study_section([*RECORDS[:-1], last], TEXT)
    assert cells(section, "three teachers")[7:11] == ["0.600", "–", "–", "–"]
    assert "hard test: not compared, no run in common with MedSAM2." in section
    assert section.count("<details>") == 2
    assert "image size 128 or 256; epochs 20 or not given;" in section
    assert "6 in test, 6 in hard test; 2 cores or a GPU." in section


def with_phases(records: list[RunRecord], *phases: dict) -> list[RunRecord]:
    return [replace(record, phases=phases) for record in records]


def phase(teachers: list[str], unexplained: float, share: float = 0.5) -> dict:
    weights = {
        "weight/a": [[0, 0.5], [10, share]],
        "weight/b": [[0, 0.5], [10, 1 - share]],
        "weight_entropy": [[0, 1.0], [10, 0.7]],
    }
    losses = dict.fromkeys(teachers, 0.25)
    return {"teachers": teachers, "curves": weights, "val_loss": losses, "unexplained": {"a": unexplained, "b": 0.9}}


def test_what_students_know_stands_after_every_distillation():
    records = with_phases(runs_of("MedSAM2", [0.7, 0.71]), phase(["a"], 0.4))
    records += with_phases(runs_of("three teachers", [0.7]), phase(["a"], 0.3), phase(["b"], 0.5))
    section = study_section(records, replace(TEXT, shows=("teachers",)))
    assert "| MedSAM2 | a | 0.400 ± 0.000 | 0.900 ± 0.000 | 0.250 ± 0.000 | – |" in section
    assert "| three teachers, after 1 | a | 0.300 | 0.900 | 0.250 | – |" in section
    assert "| three teachers, after 2 | b | 0.500 | 0.900 | – | 0.250 |" in section


def test_collapsed_runs_are_counted():
    records = with_phases(runs_of("MedSAM2", [0.7, 0.71]), phase(["a", "b"], 0.4, share=0.99))
    records += with_phases(runs_of("three teachers", [0.7]), phase(["a", "b"], 0.4))
    section = study_section(records, replace(TEXT, shows=("weights",)))
    assert "| MedSAM2 | 0.990 ± 0.000 | 0.010 ± 0.000 | 0.700 ± 0.000 | 2 of 2 |" in section
    assert "| three teachers | 0.500 | 0.500 | 0.700 | 0 of 1 |" in section


def test_differences_stand_structure_by_structure():
    section = study_section(RECORDS, replace(TEXT, shows=("structures",)))
    differences = section.partition("structure by structure")[2]
    row = next(line for line in differences.splitlines() if line.startswith("| bolus |"))
    assert row.startswith("| bolus | +0.050 [+0.050, +0.051] | +0.010 |")


def test_hd95_and_costs_have_their_columns():
    hd95 = {"p0": {"bolus": 3.0, "c4": None}, "p1": {"bolus": 6.0, "c4": None}}
    records = [
        replace(record, splits={"test": {**record.splits["test"], "hd95": hd95}})
        for record in runs_of("MedSAM2", [0.7])
    ]
    section = study_section(records, replace(TEXT, costs={"MedSAM2": {"FLOPs": 5.2e9}}))
    assert cells(section, "variant")[6:] == ["HD95 (pixels), test", "seconds", "parameters", "FLOPs"]
    assert cells(section, "MedSAM2")[6:] == ["4.5", "120", "4.1 M", "5.2 G"]


def test_every_row_of_a_table_has_as_many_cells_as_its_heading():
    widths = [[line.count("|") for line in block.splitlines()] for block in study_section(RECORDS, TEXT).split("\n\n")]
    tables = [width for width in widths if width[0] > 2]
    assert len(tables) == 2
    assert all(len(set(width)) == 1 for width in tables)


def test_an_unpublished_claim_is_said_to_be_so():
    text = StudyText("T", "Q?", None, "MedSAM2", ["MedSAM2"], "make studies")
    assert "**The paper.** Not published." in study_section(RECORDS[:1], text)


def test_runs_of_an_unknown_variant_and_no_run_at_all_are_refused():
    with pytest.raises(ValueError, match=r"expected runs of \['MedSAM2', .*\], got \['renamed'\]"):
        study_section(runs_of("renamed", [0.5]), TEXT)
    with pytest.raises(ValueError, match="got none"):
        study_section([], TEXT)


@pytest.mark.parametrize("order", [["a", "b"], ["MedSAM2", "b", "b"]])
def test_variants_must_differ_and_include_the_reference(order):
    with pytest.raises(ValueError, match="variants must be different and include the reference 'MedSAM2'"):
        StudyText("T", "Q?", None, "MedSAM2", order, "make studies")
