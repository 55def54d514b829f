"""What studies print, in Markdown: rows of scores and differences, the power of a table, and claims."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, stdev

from bundle.laboratory.studies.statistics import (
    FOUND,
    OPEN,
    OPEN_HERE,
    Comparison,
    explain,
    judge,
    verdict,
)


@dataclass(frozen=True)
class VariantRow:
    """A variant in a table."""

    name: str  # Of the variant
    scores: Sequence[float] = ()  # One per run, each a mean over patients; none: not run
    # With the table's reference, corrected for the whole table; None: there is none
    comparison: Comparison | None = None
    note: str = "–"  # In its place, such as ``"reference"``
    more: Mapping[str, str] = field(default_factory=dict)  # Further columns, by their heading


def results_table(rows: Sequence[VariantRow], measure: str = "Dice", of_these_trainings: bool = False) -> str:
    """Scores, differences with their t-intervals, verdicts and power."""
    alone = ["patients alone: of these trainings"] if of_these_trainings else []
    more = list(dict.fromkeys(name for row in rows for name in row.more))
    columns = ["variant", "runs", measure, "difference [95%]", *alone, "verdict", "power", *more]
    cells = [
        [
            row.name,
            str(len(row.scores)),
            spread(row.scores) if row.scores else "not run",
            *_comparison_cells(row, of_these_trainings),
            *(row.more.get(name, "–") for name in more),
        ]
        for row in rows
    ]
    return markdown_table(columns, cells)


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """``0.467 ± 0.015``: mean and sample standard deviation; the mean alone of one value; a dash for none."""
    if not values:
        return "–"
    mean = format(fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {stdev(values):{form}}"


def power_line(comparisons: Iterable[Comparison]) -> str:
    """How much a table could have found, in a paragraph; empty if nothing can be compared."""
    found = [comparison for comparison in comparisons if comparison.standard_error is not None]
    if not found:
        return ""
    bound, number = found[0].negligible, max(comparison.num_comparisons for comparison in found)
    alone, corrected, detectable = (
        _range([getattr(comparison, name) for comparison in found], form)
        for name, form in (("power", ".0%"), ("corrected_power", ".0%"), ("detectable", ".3f"))
    )
    verdicts = f', and the verdict "higher", which is corrected for {number} comparisons, in {corrected}'
    fixed = dict.fromkeys(axis for comparison in found for axis in comparison.fixed)
    limits = "".join(f" There is one {axis} only: it is not counted as random." for axis in fixed)
    return (
        f"**Power.** A true difference of {bound:+g} gives an interval above 0 in {alone} of studies like this"
        f"{verdicts if number > 1 else ''}. To be seen in {FOUND:.0%} of them it must be {detectable}. "
        f"Medians of the comparisons, lowest to highest in brackets.{limits}"
    )


def claim_line(text: str, comparison: Comparison | None, expected: str, reference: str) -> str:
    """A claim and what became of it, as an entry of a list."""
    word = judge(comparison, expected)
    if comparison is None:
        return f"- {text}: **{word}** (no run in common)."
    why = explain(comparison, reference)
    return f"- {text}: **{word}**{why.removeprefix(OPEN) if word == OPEN_HERE else f': {why}'}."


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is words and whose others are numbers; a bar in a cell breaks nothing."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _comparison_cells(row: VariantRow, of_these_trainings: bool) -> list[str]:
    found = row.comparison
    alone = [_interval(found.patients_interval) if found else "–"] if of_these_trainings else []
    if found is None:
        return [row.note, *alone, "–", "–"]
    power = "–" if found.power is None else f"{found.power:.0%}"
    return [f"{found.difference:+z.3f} {_interval(found.interval)}", *alone, verdict(found), power]


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"[{ends[0]:+z.3f}, {ends[1]:+z.3f}]"


def _range(values: Sequence[float], form: str) -> str:
    low, middle, high = (format(value, form) for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
