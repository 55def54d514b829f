"""The page of the synthetic studies, from their records: a short table for each, and how the claims fared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from bundle.atomic import write_text
from bundle.laboratory.studies.definition import (
    FOLDER,
    Claim,
    EvidenceStudy,
    Keys,
    read_scale,
    read_study,
    study_names,
    teacher_configs,
)
from bundle.laboratory.studies.figures import draw_weights
from bundle.laboratory.studies.index import END, MACHINERY, START, write_index
from bundle.laboratory.studies.plan import Planner
from bundle.laboratory.studies.readouts import describe_costs, is_collapsed
from bundle.laboratory.studies.record import RunRecord, read_records, split_names, write_records
from bundle.laboratory.studies.runner import TIME, StudyRunner
from bundle.laboratory.studies.statistics import Comparison, compare_pairs, count, score
from bundle.laboratory.studies.tables import VariantRow, claim_line, power_line, results_table, spread

PAGE = """# A check of the machinery, with small teachers and synthetic patients

Everything here was trained and evaluated on **synthetic** patients, with small teachers that were trained on synthetic
images themselves, for minutes. It shows that the parts work together and how sure such a comparison is. Of real
teachers and of patients it says nothing. How to read it: [evidence](README.md#how-to-read-the-tables).

## Claims

{start}
{claims}

{overlap}
{end}

In the tables, of the test patients: *unexplained of its teachers* is the share of their variance on other synthetic
patients that a linear map of the student's embedding leaves before phase 2 (0: all known; 1: nothing), mean over the
teachers that it learned from. *CPU minutes* are of a run's trainings, without the teachers' features, which all share.

{tables}

## The runs

{shared}

**Scale.** {scale}. `{command}`, finished {finished}. Every run is in [results.json](results.json).
"""

PUBLIC_SETS = " --public_sets CHEST_XRAYS CT_LESIONS"

Tables = Mapping[tuple[str, str], Comparison]


def run_studies(
    names: Sequence[str],
    scale: str,
    folder: Path,
    output_dir: Path,
    jobs: int = 1,
    runs_none: bool = False,
    public_sets: tuple[Path, Path] | None = None,
) -> Path:
    """Run what is missing of some studies and write the report of all, also when runs failed; the index's path.

    Raises:
        ValueError: If a study or scale is unknown or malformed.
        RuntimeError: If runs failed.
    """
    chosen, studies = ([read_study(FOLDER / f"{name}.json") for name in some] for some in (names, study_names()))
    path, size = output_dir / "results.json", read_scale(scale)
    try:
        if not runs_none:
            StudyRunner(folder, path, size, jobs, public_sets=public_sets).run(chosen)
    finally:
        planner = Planner(folder / "stages", folder / "phantom", size, teacher_configs())
        records = name_records(studies, planner, read_records(path))
        write_records(records, path)
        index = write_machinery(studies, planner, records, output_dir)
    return index


def name_records(
    studies: Sequence[EvidenceStudy], planner: Planner, records: Mapping[str, RunRecord]
) -> dict[str, RunRecord]:
    """Write into every record the studies and variants that it is a run of: configs change, and keys with them.

    A record whose key no study asks for keeps the names that it has.
    """
    names: dict[str, list[tuple[str, str]]] = {}
    for study in studies:
        for run in planner.runs(study):
            names.setdefault(run.key, []).append((run.study, run.variant))
    return {key: replace(run, names=tuple(names.get(key, run.names))) for key, run in records.items()}


def found(study: EvidenceStudy, planner: Planner, records: Mapping[str, RunRecord]) -> list[RunRecord]:
    """Runs of a study as it is defined now; if there is none, those that were recorded under its name."""
    runs = [run for run in planner.runs(study) if run.key in records]
    if runs:
        return [replace(records[run.key], study=run.study, variant=run.variant) for run in runs]
    variants = [variant.name for variant in study.variants]
    return [
        replace(record, study=name, variant=variant)
        for record in records.values()
        for name, variant in record.names
        if name == study.name and variant in variants
    ]


def write_machinery(
    studies: Sequence[EvidenceStudy], planner: Planner, records: Mapping[str, RunRecord], target: str | Path
) -> Path:
    """Write ``machinery.md``, if there is a run, its figures, and ``README.md``."""
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    claims: dict[bool, list[str]] = {True: [], False: []}
    sections, used = [], []
    for study in studies:
        runs = found(study, planner, records)
        comparisons = compare_study(study, runs)
        used += runs
        sections.append(_section(study, runs, comparisons, planner, target))
        for claim in study.claims if runs else ():
            claims[claim.of_paper].append(_claim(claim, comparisons))
    if used:
        overlap, shared = _shared(studies, used)
        page = PAGE.format(
            start=START,
            claims="\n\n".join(
                "\n".join([heading, "", *claims[of_paper]])
                for heading, of_paper in (("Of the paper:", True), ("Others:", False))
                if claims[of_paper]
            ),
            end=END,
            tables="\n\n".join(sections),
            overlap=overlap,
            shared=shared or overlap,
            scale=_scale(used),
            command=f"python scripts/laboratory/study.py --scale {planner.scale.name}{PUBLIC_SETS}",
            finished=_between([run.finished[:10] for run in used]),
        )
        write_text(target / MACHINERY, page)
    return write_index(target)


def compare_study(study: EvidenceStudy, records: Sequence[RunRecord]) -> Tables:
    """All comparisons of a study's table and of its claims, corrected together, on the first split."""
    if not records:
        return {}
    rows = [(variant.name, study.reference) for variant in study.variants if variant.name != study.reference]
    claims = [(claim.variant, claim.than) for claim in study.claims]
    return compare_pairs(records, [*rows, *claims], split_names(records)[0])


def collapsed_runs(records: Sequence[RunRecord], variant: str) -> tuple[int, int]:
    """In how many of a variant's runs the last distillation collapsed on one teacher, and of how many it is known."""
    known = [is_collapsed(run.phases[-1]["curves"]) for run in records if run.variant == variant and run.phases]
    return sum(known), len(known)


def _section(
    study: EvidenceStudy, records: Sequence[RunRecord], comparisons: Tables, planner: Planner, target: Path
) -> str:
    parts = [f"## {study.title}", f"{study.question} *The paper:* {study.paper}"]
    if not records:
        return "\n\n".join([*parts, "Not run."])
    parts.append(
        results_table([_row(study, variant.name, records, comparisons, planner) for variant in study.variants])
    )
    parts.append(power_line(comparisons.values()))
    order = [variant.name for variant in study.variants]
    figure = f"{study.name}_weights.svg"
    if "weights" in study.shows and draw_weights(records, order, target / figure):
        parts.append(f"![{study.title}: weights over the training]({figure})")
    return "\n\n".join(part for part in parts if part)


def _row(
    study: EvidenceStudy, name: str, records: Sequence[RunRecord], comparisons: Tables, planner: Planner
) -> VariantRow:
    runs = [run for run in records if run.variant == name]
    scored = score(records, name, split_names(records)[0])
    more = {}
    if "time" in study.shows:
        more[TIME] = spread([run.measured[TIME] for run in runs if TIME in run.measured], ".2f")
    if "weights" in study.shows:
        more["collapsed on one teacher"] = "{} of {}".format(*collapsed_runs(records, name))
    if "teachers" in study.shows:
        more["unexplained of its teachers"] = spread([fmean(_unexplained(run)) for run in runs if run.phases])
    if "costs" in study.shows:
        (variant,) = [variant for variant in study.variants if variant.name == name]
        stage = planner.run(study.name, variant, planner.scale.seeds[0]).stages[-1]
        more |= {key: _number(value) for key, value in describe_costs(stage.backbone).items()}
    return VariantRow(
        name,
        list(scored.per_seed.values()) if scored else (),
        comparisons.get((name, study.reference)),
        "reference" if name == study.reference else "–",
        more,
    )


def _unexplained(run: RunRecord) -> list[float]:
    """Of every teacher that it learned from, in any of its distillations, at the end."""
    names = dict.fromkeys(name for phase in run.phases for name in phase["teachers"])
    return [run.phases[-1]["unexplained"][name] for name in names]


def _number(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _claim(claim: Claim, comparisons: Tables) -> str:
    return claim_line(claim.text, comparisons.get((claim.variant, claim.than)), claim.expected, claim.than)


def _shared(studies: Sequence[EvidenceStudy], records: Sequence[RunRecord]) -> tuple[str, str]:
    """Which runs stand in several tables, which therefore are not independent of each other: in short, and in full."""
    places: dict[str, dict[str, str]] = {}
    for run in records:
        places.setdefault(run.key, {})[run.study] = run.variant
    groups = Counter(tuple(names.items()) for names in places.values() if len(names) > 1)
    if not groups:
        return f"{count(len(places), 'run')}, each in one table.", ""
    titles = {study.name: study.title for study in studies}
    lines = [
        f"- {count(number, 'run')} in {len(group)} tables: "
        + "; ".join(f"*{variant}* in {titles[study]}" for study, variant in group)
        for group, number in sorted(groups.items(), key=lambda entry: -len(entry[0]))
    ]
    most = max(groups, key=len)
    short = (
        f"The tables are not independent: {len(most)} of {len({run.study for run in records})} share the same "
        f"{count(groups[most], 'run')}, and what is by chance in these is in all of them."
    )
    return short, "\n".join([f"{count(len(places), 'run')}, of which some stand in several tables:", "", *lines])


def _scale(records: Sequence[RunRecord]) -> str:
    scales: Keys = {}
    for run in records:
        for name, value in run.scale.items():
            scales.setdefault(name.replace("_", " "), {})[str(value)] = None
    facts = [f"{name} {' or '.join(values)}" for name, values in scales.items()]
    seeds = ", ".join(map(str, sorted({run.seed for run in records})))
    machines = " or ".join(dict.fromkeys(run.machine for run in records))
    return "; ".join([*facts, f"seeds {seeds}", machines])


def _between(dates: Sequence[str]) -> str:
    return min(dates) if min(dates) == max(dates) else f"{min(dates)} to {max(dates)}"
