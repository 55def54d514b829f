"""A study as a Markdown section: scores, differences, verdicts, scale, findings, and the means per structure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from bundle.studies.record import HD95, RunRecord, split_names
from bundle.studies.statistics import (
    LEVEL,
    Comparison,
    VariantScore,
    compare_all,
    compare_structures,
    explain,
    format_p_value,
    score,
    structure_means,
    verdict,
)
from bundle.studies.traces import is_collapsed


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
        costs: Variant -> further columns that do not depend on the runs, such as ``parameters``.
        shows: Sections beside scores; see :data:`bundle.studies.definition.SHOWN`.

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
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shows: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.reference not in self.order or len(set(self.order)) != len(self.order):
            raise ValueError(
                f"variants must be different and include the reference {self.reference!r}, got {list(self.order)}"
            )


@dataclass(frozen=True)
class _Split:
    """What is printed of one split."""

    name: str
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
            split,
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
        *([_teachers_table(records, text.order)] if "teachers" in text.shows else []),
        *([_weights_table(records, text.order)] if "weights" in text.shows else []),
        *(_difference_table(records, text, split) for split in split_names(records) if "structures" in text.shows),
        *(_structure_table(records, text.order, split) for split in split_names(records)),
    ]
    return "\n\n".join(parts) + "\n"


def anchor(variant: str) -> str:
    """What a link to a variant's row of the main table ends in, after ``#``."""
    return "-".join(re.findall(r"\w+", variant.lower()))


def _main_table(records: Sequence[RunRecord], text: StudyText, splits: Sequence[_Split]) -> str:
    columns = ["variant", "seeds"]
    for split in splits:
        columns += [f"{column}, {split.title}" for column in ("Dice", "difference", "p", "verdict", "HD95 (pixels)")]
    costs = list(dict.fromkeys(name for found in text.costs.values() for name in found))
    rows = []
    for variant in text.order:
        runs = [record for record in records if record.variant == variant]
        row = [f'<a id="{anchor(variant)}"></a>{variant}', str(len(runs))]
        for split in splits:
            row.append(_score_cell(split.scores[variant]))
            row += _comparison_cells(split.comparisons.get(variant), is_reference=variant == text.reference)
            row.append(_hd95_cell(runs, split.name))
        row += [_mean_cell(runs, name) for name in text.measured]
        found = text.costs.get(variant, {})
        rows.append(row + [_number(found[name]) if name in found else "–" for name in costs])
    return _table([*columns, *map(_title, text.measured), *costs], rows)


def _hd95_cell(runs: Sequence[RunRecord], split: str) -> str:
    per_seed = []
    for run in runs:
        patients = run.splits.get(split, {}).get(HD95, {}).values()
        values = [value for patient in patients for value in patient.values() if value is not None]
        per_seed += [fmean(values)] if values else []
    return _spread(per_seed, ".1f")


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return "–"
    mean = format(fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {stdev(values):{form}}"


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


def _teachers_table(records: Sequence[RunRecord], order: Sequence[str]) -> str:
    """After every distillation: what the student knows of each teacher, and the loss to those it learned from."""
    rows = []
    teachers = list(dict.fromkeys(name for run in records for phase in run.phases for name in phase["unexplained"]))
    for variant in order:
        runs = [record for record in records if record.variant == variant and record.phases]
        for number in range(len(runs[0].phases) if runs else 0):
            phases = [run.phases[number] for run in runs]
            name = variant if len(runs[0].phases) == 1 else f"{variant}, after {number + 1}"
            row = [name, " + ".join(phases[0]["teachers"])]
            for kind in ("unexplained", "val_loss"):
                row += [
                    _spread([phase[kind][name] for phase in phases if name in phase[kind]], ".3f") for name in teachers
                ]
            rows.append(row)
    columns = [
        "variant",
        "learned from",
        *(f"unexplained, {name}" for name in teachers),
        *(f"loss, {name}" for name in teachers),
    ]
    words = (
        "**What the students know of each teacher**, before phase 2; mean ± standard deviation between seeds. "
        "*Unexplained*: share of the teacher's variance on other synthetic patients that a linear map of the student's "
        "embedding leaves, whether it learned from that teacher or not (0: all known; 1: nothing). *Loss*: of "
        "validation, in the run's own distance and standardization; do not compare it between distances."
    )
    return f"{words}\n\n{_table(columns, rows)}"


def collapsed_runs(records: Sequence[RunRecord], variant: str) -> tuple[int, int]:
    """In how many of a variant's runs the last distillation collapsed on one teacher, and of how many it is known."""
    found = [is_collapsed(run.phases[-1]["curves"]) for run in records if run.variant == variant and run.phases]
    return sum(found), len(found)


def _weights_table(records: Sequence[RunRecord], order: Sequence[str]) -> str:
    """How the last distillation of every variant weighed its teachers at the end, and whether it collapsed."""
    rows = []
    names = list(dict.fromkeys(name for run in records for phase in run.phases for name in phase["curves"]))
    for variant in order:
        curves = [run.phases[-1]["curves"] for run in records if run.variant == variant and run.phases]
        if curves:
            ends = [_spread([found[name][-1][1] for found in curves if found.get(name)], ".3f") for name in names]
            rows.append([variant, *ends, "{} of {}".format(*collapsed_runs(records, variant))])
    words = (
        "**Weights** at the last logged step, mean ± standard deviation between seeds; the entropy of the weights is 1 "
        "for equal ones, 0 if one teacher has all. *Collapsed*: runs in which one teacher has over 95% of the weights "
        "throughout the last quarter of the steps."
    )
    return f"{words}\n\n{_table(['variant', *map(_title, names), 'collapsed'], rows)}"


def _difference_table(records: Sequence[RunRecord], text: StudyText, split: str) -> str:
    """Differences to the reference, structure by structure."""
    others = [variant for variant in text.order if variant != text.reference]
    found = {variant: compare_structures(records, variant, text.reference, split) for variant in others}
    rows = [
        [
            _title(structure),
            *(_comparison_cells(found[variant].get(structure), is_reference=False)[0] for variant in others),
        ]
        for structure in dict.fromkeys(name for comparisons in found.values() for name in comparisons)
    ]
    number = len(rows) * len(others)
    words = (
        f'**Differences in Dice to "{text.reference}", {_title(split)}, structure by structure**, with 95% intervals '
        f"that are not corrected for their number: of {number} intervals about {number * LEVEL:.0f} miss 0 by chance."
    )
    return f"{words}\n\n{_table(['structure', *others], rows)}"


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
