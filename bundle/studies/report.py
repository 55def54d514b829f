"""Pages, figures and the index of all studies, from their records."""

from collections.abc import Sequence
from pathlib import Path

from bundle.atomic import write_text
from bundle.studies.costs import describe_costs
from bundle.studies.definition import FOLDER, Claim, Study, read_scale, read_study, study_names
from bundle.studies.figures import draw_scores, draw_weights
from bundle.studies.record import RunRecord, split_names
from bundle.studies.runner import TIME, StudyRunner, write_records
from bundle.studies.statistics import HIGHER, LOWER, NO_DIFFERENCE, TOO_FEW, compare_all, explain, verdict
from bundle.studies.tables import StudyText, collapsed_runs, study_section

HELD, NOT_SEEN, OPPOSITE, OPEN = "held here", "not seen here", "the opposite was seen here", "could not be told here"

NEGLIGIBLE = 0.02
"""Differences in Dice within this are none: the gain that the paper reports of three teachers over one."""

INDEX = """# Evidence

The studies were trained and evaluated on **synthetic** patients. They say how the method behaves on them; of real
patients they say nothing. Written by `{command}`; every run is in [results.json](results.json).

{table}
{pages}
## How to read the tables

- **Dice** is the mean over patients of the mean over their structures; then ± the standard deviation between seeds.
- **test** are patients like those of the training; **hard test** are patients with [other machines, doses and
  findings](../concepts/phantom.md).
- **Differences** are to the study's reference, on the same patients and seeds. The 95% interval resamples seeds
  *and* patients: a difference between two trainings is no difference between two methods. With few seeds it is too
  narrow.
- **Verdicts**: *higher* and *lower* need an interval without 0 and p < 0.05 of a test that counts seeds and
  patients as random (Dorfman, Berbaum & Metz 1992), corrected for the number of variants (Holm). *unclear*: the
  interval alone. *no difference found* is not *equal*: see how wide the interval is.
- **Claims**, the paper's and others that a reader would make, are judged by the same verdicts, each alone, on the
  test patients. "No difference" holds only if the whole interval lies within ±0.02.

How studies are defined and run: [studies](../how-to/studies.md). The statistics: `bundle/studies/statistics.py`.
"""


PUBLIC_SETS = " --public_sets CHEST_XRAYS CT_LESIONS"

PAGES = {
    "inside.md": "Looking inside: features before and after distillation, and the worst frames",
    "slices.md": "Slices of a 3-D volume (real CT)",
    "sim_to_real.md": "The shipped model on a real film",
}
"""Made by scripts of their own."""


def run_studies(
    names: Sequence[str],
    scale: str,
    folder: Path,
    output_dir: Path,
    jobs: int = 1,
    runs_none: bool = False,
    public_sets: tuple[Path, Path] | None = None,
) -> Path:
    """Run what is missing of some studies and write the report of all, also of what there is when runs have failed.

    Args:
        names: Of the studies to be run.
        scale: Name of the scale.
        folder: For data and trainings.
        output_dir: For ``results.json``, tables and figures.
        jobs: Trainings at the same time.
        runs_none: Whether only the report is written.
        public_sets: Folders of chest X-rays and of CT lesions, for studies that ask for them.

    Returns:
        Path of the report's index.

    Raises:
        ValueError: If a study or scale is unknown or malformed.
        RuntimeError: If runs failed.
    """
    chosen, studies = ([read_study(FOLDER / f"{name}.json") for name in some] for some in (names, study_names()))
    runner = StudyRunner(folder, output_dir / "results.json", read_scale(scale), jobs, public_sets=public_sets)
    try:
        if not runs_none:
            runner.run(chosen)
    finally:
        write_records(runner.records, runner.path)
        index = write_report(studies, runner, output_dir)
    return index


def write_report(studies: Sequence[Study], runner: StudyRunner, target: str | Path) -> Path:
    """Write ``README.md``, and for every study with a run ``<study>.md`` and ``<study>.svg``.

    Args:
        studies: To be written, in this order.
        runner: Has the records.
        target: Folder.

    Returns:
        Path of ``README.md``.
    """
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    command = f"python scripts/study.py --scale {runner.scale.name}"
    rows = ["| study | runs | found |", "|---|---|---|"]
    for study in studies:
        records = runner.found(study)
        wanted = len(study.variants) * len(runner.scale.seeds)
        if not records:
            rows.append(f"| {study.title} | 0 of {wanted} | not run |")
            continue
        order = [variant.name for variant in study.variants]
        text = StudyText(
            title=study.title,
            question=study.question,
            claim=study.paper,
            reference=study.reference,
            order=order,
            command=f"{command} {study.name}{PUBLIC_SETS if _needs_public_sets(study) else ''}",
            measured=(TIME,),
            costs=_costs(study, runner) if "costs" in study.shows else {},
            shows=study.shows,
        )
        draw_scores(records, order, study.reference, target / f"{study.name}.svg")
        parts = [study_section(records, text).replace("## ", "# ", 1)]
        parts += [f"![{study.title}: Dice of every variant]({study.name}.svg)\n"]
        if "weights" in study.shows and draw_weights(records, order, target / f"{study.name}_weights.svg"):
            parts += [f"![{study.title}: weights over the training]({study.name}_weights.svg)\n"]
        parts += [_claims(study, records)]
        write_text(target / f"{study.name}.md", "\n".join(part for part in parts if part))
        rows.append(f"| [{study.title}]({study.name}.md) | {len(records)} of {wanted} | {in_short(study, records)} |")
    pages = [f"- [{title}]({name})" for name, title in PAGES.items() if (target / name).is_file()]
    beside = "\n".join(["", "Beside the studies:", "", *pages, ""]) if pages else ""
    return write_text(target / "README.md", INDEX.format(command=command, table="\n".join(rows), pages=beside))


def _needs_public_sets(study: Study) -> bool:
    return any(phase.data for variant in study.variants for phase in (*variant.phase_1, variant.phase_2))


def _costs(study: Study, runner: StudyRunner) -> dict[str, dict[str, float]]:
    seed = runner.scale.seeds[0]
    last = {variant.name: runner.planner.run(study.name, variant, seed).stages[-1] for variant in study.variants}
    return {name: describe_costs(stage.backbone) for name, stage in last.items()}


def judge(claim: Claim, records: Sequence[RunRecord], split: str) -> tuple[str, str]:
    """Whether a claim held in some runs, and the comparison that says so.

    Args:
        claim: That one variant is higher than another, or that there is no difference.
        records: Of the study.
        split: Held-out patients.
    """
    comparison = compare_all(records, [claim.variant], claim.than, split).get(claim.variant)
    if comparison is None or verdict(comparison) == TOO_FEW:
        return OPEN, "too few runs"
    found, words = verdict(comparison), explain(comparison, claim.than)
    if claim.expected == NO_DIFFERENCE:
        is_narrow = max(map(abs, comparison.interval or (1.0,))) <= NEGLIGIBLE
        return (NOT_SEEN if found in (HIGHER, LOWER) else HELD if is_narrow else OPEN), words
    return (HELD if found == HIGHER else OPPOSITE if found == LOWER else NOT_SEEN), words


def _claims(study: Study, records: Sequence[RunRecord]) -> str:
    split = split_names(records)[0]
    parts = []
    for heading, of_paper in (("The paper's claims, here.", True), ("Other claims, here.", False)):
        judged = [(claim, *judge(claim, records, split)) for claim in study.claims if claim.of_paper == of_paper]
        if judged:
            lines = [f"- {claim.text}: **{word}**. {claim.variant}: {why}." for claim, word, why in judged]
            parts.append("\n".join([f"**{heading}**", "", *lines, ""]))
    return "\n".join(parts)


def in_short(study: Study, records: Sequence[RunRecord]) -> str:
    """What a study has found, in a line: variants that differ from its reference, and distillations that collapsed."""
    order = [variant.name for variant in study.variants]
    found = compare_all(records, order, study.reference, split_names(records)[0])
    verdicts = {name: verdict(comparison) for name, comparison in found.items()}
    told = [
        f"{word} than *{study.reference}*: " + ", ".join(f"*{name}*" for name in order if verdicts.get(name) == word)
        for word in (HIGHER, LOWER)
        if word in verdicts.values()
    ]
    if not told:
        too_few = set(verdicts.values()) <= {TOO_FEW}
        told = [TOO_FEW if too_few else f"no difference to *{study.reference}* found"]
    if "weights" in study.shows:
        counts = {name: collapsed_runs(records, name) for name in order}
        told += [f"collapsed on one teacher: *{name}*, {bad} of {runs}" for name, (bad, runs) in counts.items() if bad]
    return "; ".join(told)
