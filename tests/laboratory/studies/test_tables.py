"""What studies print: every number where a reader looks for it."""

from dataclasses import replace

import pytest

from bundle.laboratory.studies.statistics import Comparison
from bundle.laboratory.studies.tables import VariantRow, claim_line, markdown_table, power_line, results_table, spread

SIZES = {"distillation": 3, "draw": 3, "film": 62}
FOUND = Comparison(0.03, SIZES, 0.02, 0.01, 4.0, (0.002, 0.058), 0.04, (0.02, 0.04), 0.08, 2)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_a_row_has_scores_difference_interval_verdict_and_power():
    rows = [
        VariantRow("random", [0.84, 0.86], note="reference", more={"minutes": "5"}),
        VariantRow("L | D", [0.88], FOUND),
        VariantRow("not run yet"),
    ]
    heading, _, reference, both, missing = cells(results_table(rows))
    assert heading == ["variant", "runs", "Dice", "difference [95%]", "verdict", "power", "minutes"]
    assert reference == ["random", "2", "0.850 ± 0.014", "reference", "–", "–", "5"]
    assert both[:5] == ["L &#124; D", "1", "0.880", "+0.030 [+0.002, +0.058]", "could not be told"]
    assert both[5:] == [f"{FOUND.power:.0%}", "–"]
    assert missing == ["not run yet", "0", "not run", "–", "–", "–", "–"]


def test_what_speaks_of_these_trainings_only_says_so():
    heading, _, row, other = cells(
        results_table([VariantRow("a", [0.8], FOUND), VariantRow("b")], "HD95", of_these_trainings=True)
    )
    assert heading[2:5] == ["HD95", "difference [95%]", "patients alone: of these trainings"]
    assert row[4] == "[+0.020, +0.040]"
    assert len(other) == len(heading)


def test_a_spread_is_of_several():
    assert [spread(values) for values in ([], [0.5], [0.4, 0.6])] == ["–", "0.500", "0.500 ± 0.141"]


def test_the_power_of_a_table_is_said_with_its_correction_and_what_is_not_random():
    wide = replace(FOUND, standard_error=0.1, sizes={**SIZES, "draw": 1})
    line = power_line([FOUND, FOUND, wide])
    assert f"A true difference of +0.02 gives an interval above 0 in {FOUND.power:.0%} ({wide.power:.0%} to" in line
    assert f"corrected for 2 comparisons, in {FOUND.corrected_power:.0%}" in line
    assert f"it must be {FOUND.detectable:.3f} ({FOUND.detectable:.3f} to {wide.detectable:.3f})" in line
    assert line.endswith("There is one draw only: it is not counted as random.")
    assert "corrected" not in power_line([replace(FOUND, num_comparisons=1)])
    assert power_line([Comparison(0.1, SIZES)]) == ""


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (FOUND, "could not be told here** (interval +0.002 to +0.058 excludes 0, but p = 0.080 with 2 comparisons)."),
        (
            replace(FOUND, corrected_p_value=0.04),
            "held here**: higher than L by 0.030 (interval +0.002 to +0.058, p = 0.040).",
        ),
        (None, "could not be told here** (no run in common)."),
    ],
)
def test_a_claim_stands_with_what_became_of_it_and_why(found, line):
    assert claim_line("D adds to L", found, "higher", "L") == f"- D adds to L: **{line}"


def test_every_row_of_a_table_has_as_many_cells_as_its_heading():
    table = markdown_table(["a", "b"], [["1", "2"], ["x|y", "3"]])
    assert table == "| a | b |\n| --- | ---: |\n| 1 | 2 |\n| x&#124;y | 3 |"
