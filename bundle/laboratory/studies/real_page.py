"""The page of the study on real films, from its records alone."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bundle.atomic import write_text
from bundle.engines.zero_label import TEACHER
from bundle.laboratory.studies.figures import draw_curves
from bundle.laboratory.studies.index import END, REAL, START
from bundle.laboratory.studies.real import FINE_TUNING, TEST, RealStudy
from bundle.laboratory.studies.real_readouts import ZERO_LABELS
from bundle.laboratory.studies.record import DICE, HD95, RunRecord
from bundle.laboratory.studies.statistics import Comparison, compare, correct, paired
from bundle.laboratory.studies.tables import VariantRow, claim_line, markdown_table, power_line, results_table

AXES = ("distillation", "draw", "film")
RANDOM, BEST_SINGLE = "random", "best single"
REFERENCES = (RANDOM, BEST_SINGLE)
STAGES = ("features", "distillation", "fine-tuning", "evaluation")

Key = tuple[int, int, str]
"""Seed of the distillation, draw of labelled films, tested film."""

Question = tuple[str, str, str, str, tuple[str, ...] | None]
"""Task, arm, what it is compared with, split, and structures (None: all)."""

NOT = """**What this is not.** LiteMedSAM stands for the segmentation teacher of the paper, a DINOv2-derived ViT-S/14
for the self-supervised one, the image backbone of Astra for the image-text one. They are *not* MedSAM2, RAD-DINO and
MedCLIP, whose weights could not be had; Astra learned from CT, and where the DINOv2-derived weights come from is not
stated by their package. Films are chest radiographs, one per patient, not swallowing studies. Phase 1 saw the films of
all pools without labels, those of the other hospital's pool among them; it saw no tested film. Films and masks are
licensed for research and are not shown."""


class FilmScores:
    """Looks scores up in records."""

    def __init__(self, records: Iterable[RunRecord]) -> None:
        self.runs: dict[tuple[str, str], list[RunRecord]] = {}
        for record in records:
            self.runs.setdefault((record.task, record.variant), []).append(record)

    def films(
        self, task: str, arm: str, split: str = TEST, structures: Sequence[str] | None = None, measure: str = DICE
    ) -> dict[Key, float]:
        """Mean over structures of every film of every run; without films that have none of them."""
        found = {}
        for run in self.runs.get((task, arm), []):
            for film, values in run.splits[split][measure].items():
                known = [
                    value for name, value in values.items() if value is not None and name in (structures or values)
                ]
                if known:
                    found[run.seed, run.draw, film] = fmean(known)
        return found

    def best_single(self, study: RealStudy, task: str, **how: Any) -> str | None:
        """The arm of one teacher (and no placebo) with the highest mean; None without a run of one."""
        means = {
            name: fmean(found.values())
            for name, arm in study.arms.items()
            if len(arm.phase_1) == 1 and arm.phase_1[0].teachers == (name,) and (found := self.films(task, name, **how))
        }
        return max(means, key=lambda name: means[name]) if means else None

    def answer(self, question: Question) -> Comparison | None:
        """An arm less another on the runs that both have, as far as seeds and draws are crossed; None without any."""
        task, arm, than, split, structures = question
        ours, theirs = (self.films(task, name, split, structures) for name in (arm, than))
        runs = crossed({key[:2] for key in ours} & {key[:2] for key in theirs})
        table = paired(*({key: value for key, value in some.items() if key[:2] in runs} for some in (ours, theirs)))
        return compare(table, AXES) if table.size else None


def crossed(runs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """The largest part of (seed, draw) that holds every pair of its seeds and draws."""
    draws: dict[int, set[int]] = {}
    for seed, draw in runs:
        draws.setdefault(seed, set()).add(draw)
    best: set[tuple[int, int]] = set()
    seeds = sorted(draws, key=lambda seed: (-len(draws[seed]), seed))
    for number in range(1, len(seeds) + 1):
        common = set.intersection(*(draws[seed] for seed in seeds[:number]))
        part = {(seed, draw) for seed in seeds[:number] for draw in common}
        best = max(best, part, key=len)
    return best


def write_real_page(study: RealStudy, records: Iterable[RunRecord], probed: Mapping[str, Any], target: Path) -> Path:
    """Write ``real_teachers.md`` and its figures."""
    records, keys = list(records), list(study.wanted())
    found = {(run.variant, run.task, run.seed, run.draw): run for run in records if run.study == FINE_TUNING}
    wanted = {run: found[run] for run in keys if run in found}
    scores = FilmScores(wanted.values())
    claims, claimed = _claims(study, scores)
    tasks = [task for task in study.tasks if any(name == task for name, _ in scores.runs)]
    parts = [f"# {study.text['title']}\n", study.text["question"] + "\n", NOT + "\n"]
    parts += ["## What was asked, and what came out\n", *_fixed(study), *_missing(study, keys, wanted)]
    parts += [START + "\n", *claims, END + "\n"]
    for task in tasks:
        parts += _task(study, scores, task, claimed)
    parts += _structures(study, scores, tasks)
    if draw_curves(study, scores, target):
        parts += ["## Curves\n", "![Dice against labelled films, and against minutes](real_teachers.svg)\n"]
    parts += _probe(study, probed)
    parts += _zero_labels(study, [record for record in records if record.study == ZERO_LABELS])
    parts += _times(wanted.values())
    return write_text(target / REAL, "\n".join(parts))


def _fixed(study: RealStudy) -> list[str]:
    names = {"primary": "Primary endpoint", "secondary": "Secondary", "stop_rule": "Stop rule", "corrections": "Tests"}
    lines = [f"- **{title}**, written before the runs: {study.text[key]}" for key, title in names.items()]
    return ["\n".join(lines) + "\n"]


def _missing(study: RealStudy, keys: Iterable[tuple[str, str, int, int]], wanted: Mapping[Any, RunRecord]) -> list[str]:
    lines = []
    for number, block in enumerate(study.plan, start=1):
        runs = [run for run in keys if run[0] in block.arms and run[1] in block.tasks and run[3] in block.draws]
        missing = [run for run in runs if run not in wanted]
        if missing:
            lines.append(
                f"- block {number} ({', '.join(block.tasks)}): {len(missing)} of {len(runs)} runs are not there"
            )
    return ["**Not run.**\n", "\n".join(lines) + "\n"] if lines else []


def _claims(study: RealStudy, scores: FilmScores) -> tuple[list[str], dict[Question, Comparison]]:
    """The claims in words, and their comparisons, corrected together."""
    asked: list[Question] = []
    for claim in study.claims:
        how = {"split": claim.get("split", TEST), "structures": claim.get("structures")}
        than = claim["than"]
        than = scores.best_single(study, claim["task"], **how) if than == BEST_SINGLE else than
        asked.append(_question(claim["task"], claim["arm"], than or BEST_SINGLE, how))
    found = {question: scores.answer(question) for question in asked}
    corrected = correct({question: comparison for question, comparison in found.items() if comparison})
    lines = [
        claim_line(claim["text"], corrected.get(question), claim["expected"], question[2])
        for claim, question in zip(study.claims, asked, strict=True)
    ]
    words = (
        "The best single teacher is chosen on the tested films, which makes a gain over it look smaller. A table's row "
        "that is a claim has the claim's verdict; other rows are corrected for all claims and their own table together."
    )
    return ["\n".join(lines) + "\n", power_line(corrected.values()) + "\n", words + "\n"], corrected


def _task(study: RealStudy, scores: FilmScores, task: str, claimed: Mapping[Question, Comparison]) -> list[str]:
    wanted = study.tasks[task]
    parts = [f"## {task}: {wanted.labelled} labelled films of {wanted.films}\n"]
    primary = next(
        (claim["structures"] for claim in study.claims if claim["task"] == task and "structures" in claim), None
    )
    views = [(split, structures) for split in wanted.splits for structures in ([primary, None] if primary else [None])]
    for split, structures in views:
        where = "of " + wanted.films if split == TEST else "of " + " and ".join(wanted.elsewhere)
        what = ", ".join(structures) if structures else "all structures"
        how = {"split": split, "structures": structures}
        single = scores.best_single(study, task, **how)
        for reference in dict.fromkeys(name for name in (RANDOM, single) if name):
            rows = _rows(study, scores, task, reference, how, claimed)
            parts += [f"**Unseen films {where}, {what}, against {reference}**\n"]
            parts += [results_table(rows, of_these_trainings=bool(structures)) + "\n"]
            parts += [power_line(row.comparison for row in rows if row.comparison) + "\n"]
    return parts


def _rows(
    study: RealStudy,
    scores: FilmScores,
    task: str,
    reference: str,
    how: Mapping[str, Any],
    claimed: Mapping[Question, Comparison],
) -> list[VariantRow]:
    """Of one table; what is also a claim has the claim's correction, so that the two cannot disagree."""
    asked = {arm: _question(task, arm, reference, how) for arm in study.arms if arm != reference}
    found = {question: comparison for question in asked.values() if (comparison := scores.answer(question))}
    corrected = correct({**claimed, **found}) | dict(claimed)
    rows = []
    for arm in study.arms:
        films = scores.films(task, arm, **how)
        runs = sorted({key[:2] for key in films})
        means = [fmean(value for key, value in films.items() if key[:2] == run) for run in runs]
        if means:
            comparison = corrected.get(asked[arm]) if arm in asked else None
            rows.append(VariantRow(arm, means, comparison, "reference" if arm == reference else "–"))
    return rows


def _question(task: str, arm: str, than: str, how: Mapping[str, Any]) -> Question:
    structures = how["structures"]
    return task, arm, than, how["split"], None if structures is None else tuple(structures)


def _structures(study: RealStudy, scores: FilmScores, tasks: Sequence[str]) -> list[str]:
    """Means per structure, of Dice and HD95."""
    parts: list[str] = []
    for task in tasks:
        arms = [arm for arm in study.arms if (task, arm) in scores.runs]
        structures = list(next(iter(scores.runs[task, arms[0]][0].splits[TEST][DICE].values())))
        if len(structures) < 2:
            continue
        for measure, digits in ((DICE, 3), (HD95, 1)):
            rows = []
            for arm in arms:
                columns = [scores.films(task, arm, structures=[name], measure=measure) for name in structures]
                rows.append([arm, *(f"{fmean(films.values()):.{digits}f}" if films else "–" for films in columns)])
            unit = "HD95 in pixels of the network's input" if measure == HD95 else "Dice"
            parts += [f"**{task}, {unit}, by structure**\n", markdown_table(["arm", *structures], rows) + "\n"]
    return ["## Structures\n", *parts] if parts else []


def _probe(study: RealStudy, probed: Mapping[str, Any]) -> list[str]:
    if not probed:
        return []
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for result in probed.values():
        arms.setdefault(result["arm"], []).append(result)
    rows = []
    for arm, results in arms.items():
        cells = []
        for number in map(str, study.probe["labelled"]):
            values = [
                value
                for result in results
                for draw in result["dice"].get(number, [])
                for film in draw
                for value in film
                if value is not None
            ]
            cells.append(f"{fmean(values):.3f}" if values else "–")
        rows.append([arm, str(len(results)), *cells])
    columns = ["features", "seeds", *(f"{number} films" for number in study.probe["labelled"])]
    text = (
        "Ridge regression from frozen features to the share of each of 32 × 32 cells that a structure covers; strength "
        "and threshold are chosen by leaving labelled films out. Mean Dice of the unseen films over all structures, "
        f"{study.probe['draws']} draws of labelled films (one of all). Students: the embedding and the map at stride "
        "8, before phase 2."
    )
    return ["## Frozen probe\n", text + "\n", markdown_table(columns, rows) + "\n"]


def _zero_labels(study: RealStudy, records: Sequence[RunRecord]) -> list[str]:
    """Against the teacher in the same decoder, film by film."""
    scores, prompts = FilmScores(records), list(dict.fromkeys(record.task for record in records))
    arms = list(dict.fromkeys(record.variant for record in records))
    parts = []
    for prompt in prompts:
        rows = []
        for arm in arms:
            runs = scores.runs.get((prompt, arm), [])
            films = scores.films(prompt, arm)
            if not runs:
                continue
            mean = fmean(films.values())
            teacher = scores.films(prompt, TEACHER)
            share = f"{mean / fmean(teacher.values()):.1%}" if teacher else "–"
            rows.append([arm, str(len(runs)), f"{mean:.4f}", share])
        columns = ["encoder", "distillations", "Dice", "of the teacher's"]
        parts += [f"**By {prompt}**\n", markdown_table(columns, rows) + "\n"]
    sets = " and ".join(study.zero_labels["films"])
    text = (
        "The head of the student, its standardization undone, in the frozen decoder of "
        f"{study.zero_labels['teacher']}, prompted from the true masks; unseen films of {sets}."
    )
    times = next((run.measured for run in records if run.variant == TEACHER), {})
    speed = ", ".join(f"{name}: {value:.0f}" for name, value in times.items())
    parts += [f"Per film, one core, encoders in turn, medians; {speed}.\n"] if speed else []
    return ["## No labels\n", text + "\n", *parts] if parts else []


def _times(records: Iterable[RunRecord]) -> list[str]:
    rows, found = [], dict[tuple[str, str], list[RunRecord]]()
    for record in records:
        found.setdefault((record.task, record.variant), []).append(record)
    for (task, arm), runs in found.items():
        cells = []
        for stage in STAGES:
            known = [run.measured[stage] for run in runs if stage in run.measured]
            cells.append(f"{fmean(known):.1f}" if known else "–")
        rows.append([task, arm, *cells])
    text = (
        "Minutes of one core, means over runs. *features*: all films' views through the arm's teachers, once for all "
        "arms and seeds that use them. *distillation*: once for all tasks and draws."
    )
    return ["## Time\n", text + "\n", markdown_table(["task", "arm", *STAGES], rows) + "\n"] if rows else []
