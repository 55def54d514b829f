"""A study as a Markdown section: scores, differences, verdicts, scale, findings, and the means per structure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bundle.studies.record import RunRecord, split_names
from bundle.studies.statistics import (
    LEVEL,
    Comparison,
    VariantScore,
    compare_all,
    explain,
    format_p_value,
    score,
    structure_means,
    verdict,
)


@dataclass(frozen=True)
class StudyText:
    """What a study asks, in words.

    Args:
        title: Heading.
        question: What the study asks.
        claim: What the paper says about it; None: not published.
        reference: Variant that the others are compared with.
        order: All variants, top to bottom.
        command: That runs the study and writes this section.
        measured: Names of measured numbers to show, as columns.

    Raises:
        ValueError: If the reference is not among the variants, or a variant occurs twice.
    """

    title: str
    question: str
    claim: str | None
    reference: str
    order: Sequence[str]
    command: str
    measured: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.reference not in self.order or len(set(self.order)) != len(self.order):
            raise ValueError(
                f"variants must be different and include the reference {self.reference!r}, got {list(self.order)}"
            )


@dataclass(frozen=True)
class _Split:
    """What is printed of one split."""

    title: str
    scores: Mapping[str, VariantScore | None]
    comparisons: Mapping[str, Comparison]


def study_section(records: Sequence[RunRecord], text: StudyText) -> str:
    """The study as Markdown, from a heading of the second level on; it ends with a line break.

    Args:
        records: Runs of the study, one or more; a variant without a run is shown as not run.
        text: What the study asks.

    Raises:
        ValueError: If there is no run, one is of an unknown variant, or two have the same variant and seed.
    """
    unknown = sorted({record.variant for record in records} - set(text.order))
    if unknown or not records:
        raise ValueError(f"expected runs of {list(text.order)}, got {unknown or 'none'}")
    splits = [
        _Split(
            _title(split),
            {variant: score(records, variant, split) for variant in text.order},
            compare_all(records, text.order, text.reference, split),
        )
        for split in split_names(records)
    ]
    parts = [
        f"## {text.title}",
        f"**Question.** {text.question}",
        f"**The paper.** {text.claim or 'Not published.'}",
        _main_table(records, text, splits),
        _reading(text.reference),
        _scale(records, text, splits),
        _findings(text, splits),
        *(_structure_table(records, text.order, split) for split in split_names(records)),
    ]
    return "\n\n".join(parts) + "\n"


def _main_table(records: Sequence[RunRecord], text: StudyText, splits: Sequence[_Split]) -> str:
    columns = ["variant", "seeds"]
    for split in splits:
        columns += [f"{column}, {split.title}" for column in ("Dice", "difference", "p", "verdict")]
    rows = []
    for variant in text.order:
        runs = [record for record in records if record.variant == variant]
        row = [variant, str(len(runs))]
        for split in splits:
            row.append(_score_cell(split.scores[variant]))
            row += _comparison_cells(split.comparisons.get(variant), is_reference=variant == text.reference)
        rows.append(row + [_mean_cell(runs, name) for name in text.measured])
    return _table([*columns, *map(_title, text.measured)], rows)


def _score_cell(found: VariantScore | None) -> str:
    if found is None:
        return "not run"
    return f"{found.mean:.3f}" if found.sd is None else f"{found.mean:.3f} ± {found.sd:.3f}"


def _comparison_cells(comparison: Comparison | None, is_reference: bool) -> list[str]:
    if comparison is None:
        return ["reference" if is_reference else "–", "–", "–"]
    difference = f"{comparison.difference:+z.3f}"
    if comparison.interval is not None:
        low, high = comparison.interval
        difference += f" [{low:+z.3f}, {high:+z.3f}]"
    return [difference, format_p_value(comparison.corrected_p_value).removeprefix("= "), verdict(comparison)]


def _mean_cell(runs: Sequence[RunRecord], name: str) -> str:
    values = [run.measured[name] for run in runs if name in run.measured]
    return _number(fmean(values)) if values else "–"


def _number(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _reading(reference: str) -> str:
    return (
        "Dice: mean ± standard deviation between seeds, of the mean over patients and their structures. Differences "
        f'are to "{reference}", on the same patients and seeds, with a 95% interval from resampling both; with few '
        "seeds it is too narrow. p: seeds and patients as random, corrected for the number of comparisons in its "
        f"column (Holm). A verdict needs an interval without 0 and p below {LEVEL}; an interval without 0 alone is "
        '"unclear".'
    )


def _scale(records: Sequence[RunRecord], text: StudyText, splits: Sequence[_Split]) -> str:
    names = dict.fromkeys(name for record in records for name in record.scale)
    values = [f"{_title(name)} {_different(record.scale.get(name) for record in records)}" for name in names]
    patients = [
        f"{max(found.num_patients for found in split.scores.values() if found)} in {split.title}" for split in splits
    ]
    seeds = ", ".join(map(str, sorted({record.seed for record in records})))
    facts = [
        *values,
        f"seeds {seeds}",
        f"held-out synthetic patients: {', '.join(patients)}",
        _different(record.machine for record in records),
    ]
    finished = max(record.finished for record in records)[:10]  # the date
    return f"**Scale.** {'; '.join(facts)}. `{text.command}`, finished {finished}."


def _different(values: Iterable[Any]) -> str:
    return " or ".join(dict.fromkeys("not given" if value is None else str(value) for value in values))


def _findings(text: StudyText, splits: Sequence[_Split]) -> str:
    lines = ["**Findings.**", ""]
    for variant in text.order:
        if variant != text.reference:
            clauses = [
                f"{split.title}: {explain(split.comparisons[variant], text.reference)}"
                if variant in split.comparisons
                else f"{split.title}: not compared, no run in common with {text.reference}"
                for split in splits
            ]
            lines.append(f"- {variant}. {'; '.join(clauses)}.")
    return "\n".join(lines)


def _structure_table(records: Sequence[RunRecord], order: Sequence[str], split: str) -> str:
    means = {variant: structure_means(records, variant, split) for variant in order}
    run = [variant for variant in order if means[variant]]
    rows = [
        [_title(structure), *(_dice(means[variant].get(structure)) for variant in run)]
        for structure in dict.fromkeys(name for found in means.values() for name in found)
    ]
    summary = f"<summary>Mean Dice per structure, {_title(split)}</summary>"
    return f"<details>\n{summary}\n\n{_table(['structure', *run], rows)}\n\n</details>"


def _title(name: str) -> str:
    return name.replace("_", " ")


def _dice(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|---|" + "---:|" * (len(columns) - 1)
    return "\n".join([_row(columns), rule, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
