"""The report on a film without labels, as a Markdown page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bundle.workflows.sim_to_real_points import right_by_structure
from bundle.workflows.sim_to_real_variants import NONE

BETTER = {"plausibility": 0.02, "points": 0.05, "parts": 0.2}
"""Gains on the film that are worth a look: in shares of rules and of points, and parts fewer by this share."""
WORSE = {"plausibility": 0.005, "found": 0.02, "parts": 0.05, "change": 0.01}
"""Losses on the film that are none; parts as a share."""
LOSS = 0.005
"""Dice that a change may cost on standard patients."""

COMMAND = "python scripts/sim_to_real.py FILM --points docs/evidence/sim_to_real_points.json --publish"

MEASURES = {
    "found": "structures found, share of frames",
    "plausibility": "rules of anatomy that hold, share",
    "parts": "connected parts of a structure",
    "largest_part": "largest part, share of its area",
    "change": "change between neighbouring frames (1 - Dice)",
}

LIMITS = """## What cannot be concluded

- **No accuracy.** There are no masks of this film. Rules that hold and steady outlines say that masks are possible, not
  that they are right: a mask that is wrong in the same way in every frame is steady and may be plausible. Some points
  below are wrong where nearly every rule holds.
- **One adult, one machine, one swallow.** Nothing follows for other people, machines, views or disorders.
- The rules were written with the phantom at hand, so that its true masks obey them nearly always. Real anatomy may not.
- Hand-put points test the middle of a structure or a place where it is not, never an outline. No clinician has checked
  them, and they were chosen by someone who had seen an earlier model's masks, some of them where it failed.
- A film that was looked at while the phantom was improved is no test of the next model."""


def format_page(report: Mapping[str, Any], seen: str | None) -> str:
    """The page.

    Args:
        report: What ``measure_all`` gives.
        seen: Text by the person who looked at the pictures; its first line names the model's SHA-256.
    """
    sections = [
        _head(report),
        LIMITS,
        _seen(seen, report["model_sha256"]),
        _summary(report),
        _structures(report),
        _rules(report),
        _points(report),
        _prediction(report),
        _variants(report),
    ]
    return "\n\n".join(sections) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def ranges(numbers: Sequence[int], most: int = 5) -> str:
    """Whole numbers as ranges, at most some of them: ``0-2, 7, ...``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:most]]
    return ", ".join([*words, *(["..."] if len(runs) > most else [])])


def candidates(variants: Mapping[str, Mapping[str, Any]], num_points: int) -> list[str]:
    """Changes that gain on the film by ``BETTER`` in one measure, lose in none, and cost standard patients no Dice."""
    base = variants[NONE]
    return [
        name
        for name, row in variants.items()
        if name != NONE and _gains(row, base, num_points) and not _loses(row, base)
    ]


def _gains(row: Mapping[str, Any], base: Mapping[str, Any], num_points: int) -> bool:
    return bool(
        row["plausibility"] >= base["plausibility"] + BETTER["plausibility"]
        or (num_points and row["points_right"] >= base["points_right"] + BETTER["points"] * num_points)
        or row["parts"] <= base["parts"] * (1 - BETTER["parts"])
    )


def _loses(row: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    return bool(
        row["plausibility"] < base["plausibility"] - WORSE["plausibility"]
        or row["found"] < base["found"] - WORSE["found"]
        or row["parts"] > base["parts"] * (1 + WORSE["parts"])
        or row["change"] > base["change"] + WORSE["change"]
        or row["points_right"] < base["points_right"]
        or row["dice"]["standard"] < base["dice"]["standard"] - LOSS
    )


def _head(report: Mapping[str, Any]) -> str:
    film, view = report["film"], report["film"]["view"]
    size = f"{film['rows']} x {film['columns']}"
    seen = f"{view['bottom'] - view['top']} x {view['right'] - view['left']}"
    return f"""# From the phantom to a real film

The segmenter that ships, model `{report["model_sha256"][:12]}`, was trained on synthetic patients only. Here it sees
{report["recording"]}: {film["num_frames"]} frames of {size} pixels,
of which the product's own search for the picture keeps {seen}. For comparison: {report["patients"]} synthetic patients
of each [domain of the phantom](../concepts/phantom.md), {report["frames"]} frames in a row at
{report["frame_rate"]:g} frames/s, {report["size"]} x {report["size"]}, seeds from {report["first_seed"]},
of no training.

All but *What one sees* is written by this command; every number is in a JSON file of the same name beside this page.
Without `FILM` and `--points` it writes the page again, from its last report.

```bash
{COMMAND}
```"""


def _seen(seen: str | None, sha256: str) -> str:
    title = "## What one sees"
    if seen is None:
        return f"{title}\n\nNobody has written down yet what the overlays show."
    first, _, rest = seen.partition("\n")
    written = re.search(r"`([0-9a-f]{12,64})`", first)
    if written is None:
        raise ValueError(f"the first line must name the model's SHA-256 in backticks, 12 digits or more, got {first!r}")
    is_current = sha256.startswith(written.group(1))
    note = f"*By eye, of the model `{written.group(1)[:12]}`.*"
    if not is_current:
        note = f"**Written about an older model**, `{written.group(1)[:12]}`; the numbers are of `{sha256[:12]}`."
    return f"{title}\n\n{note}\n\n{rest.strip()}"


def _summary(report: Mapping[str, Any]) -> str:
    film, synthetic = report["film"]["summary"], report["synthetic"]
    rows = []
    for name, words in MEASURES.items():
        cells = [words, _number(film[name])]
        for domain in synthetic:
            predicted = synthetic[domain]["predicted"]
            spread = f"{_number(predicted['lowest'][name])} to {_number(predicted['highest'][name])}"
            cells += [
                f"{_number(predicted['summary'][name])} ({spread})",
                _number(synthetic[domain]["true"]["summary"][name]),
            ]
        rows.append(cells)
    scores = [cell for domain in synthetic for cell in (_number(synthetic[domain]["dice"]), "1")]
    rows.append(["Dice", "unknown", *scores])
    columns = ["", "film", *(words for domain in synthetic for words in (f"{domain}: predicted (patients)", "true"))]
    return f"""## Without labels

Means over structures, rules and frames; a rule is asked only where what it needs is found. *True* are the phantom's own
masks. Change includes true motion, of which a swallow has more than a rest.

{table(columns, rows)}"""


def _structures(report: Mapping[str, Any]) -> str:
    synthetic = report["synthetic"]
    rows = []
    for name, row in report["film"]["structures"].items():
        cells = [
            name.replace("_", " "),
            *(_number(row[key]) for key in ("found", "area_px", "area_units", "area_variation")),
        ]
        cells += [_number(row[key]) for key in ("parts", "largest_part", "change")]
        for domain in synthetic:
            predicted = synthetic[domain]["predicted"]["structures"][name]
            cells += [_number(predicted[key]) for key in ("area_units", "parts", "change")]
            cells.append(_number(synthetic[domain]["dice_by_structure"][name]))
        rows.append(cells)
    columns = ["structure", "found", "area, px", "area, L²", "its variation", "parts", "largest part", "change"]
    columns += [f"{domain}: {words}" for domain in synthetic for words in ("area, L²", "parts", "change", "Dice")]
    return f"""## By structure

The film first, then the predictions for synthetic patients. L is the distance between the middles of C2 and C4, as
predicted; variation is standard deviation over mean. The film has no pixel spacing, so that there are no millimetres.

{table(columns, rows)}"""


def _rules(report: Mapping[str, Any]) -> str:
    synthetic = report["synthetic"]
    rows = []
    for name, row in report["film"]["rules"].items():
        cells = [name, _number(row["holds"]), str(row["asked"]), ranges(row["fails"])]
        for domain in synthetic:
            cells += [_number(synthetic[domain][kind]["rules"][name]) for kind in ("predicted", "true")]
        rows.append(cells)
    columns = ["rule", "film: holds", "frames asked", "frames that fail"]
    columns += [f"{domain}: {kind}" for domain in synthetic for kind in ("predicted", "true")]
    return f"""## Rules of anatomy

Share of frames in which a rule holds (`bundle/metrics/plausibility.py`).

{table(columns, rows)}"""


def _points(report: Mapping[str, Any]) -> str:
    judged = report["film"]["points"]
    if not judged:
        return "## Points put by hand\n\nNone on this film."
    rows = [
        [name.replace("_", " "), *(f"{right} of {total}" if total else "-" for right, total in kinds.values())]
        for name, kinds in right_by_structure(judged).items()
    ]
    wrong = [
        f"- frame {point['frame']}, {point['structure'].replace('_', ' ')} "
        f"{'missing' if point['inside'] else 'wrongly'} at ({point['row']:g}, {point['column']:g}): {point['what']}"
        for point in judged
        if not point["is_right"]
    ]
    right = len(judged) - len(wrong)
    return f"""## Points put by hand

{right} of {len(judged)} points in {len({point["frame"] for point in judged})} frames are right: a mask lies where the
structure is seen, and none where it is not.

{table(["structure", "found where it is", "absent where it is not"], rows)}

Wrong (row, column):

{chr(10).join(wrong) or "- none"}"""


def _prediction(report: Mapping[str, Any]) -> str:
    rows = []
    for name, groups in report["dice_from_measures"].items():
        cells = [MEASURES[name]]
        for group in groups.values():
            if group["rho"] is None:
                cells.append("the same for all")
            else:
                cells.append(f"{group['rho']:+.2f} [{group['low']:+.2f}, {group['high']:+.2f}]")
        rows.append(cells)
    (groups, *_) = report["dice_from_measures"].values()
    columns = ["measure", *(f"{name} ({group['patients']} patients)" for name, group in groups.items())]
    return f"""## Do these measures tell Dice?

On synthetic patients both are known. Spearman's rank correlation of each measure with a patient's mean Dice, and its
95% interval over resampled patients. *All* mixes two domains that differ in both, which alone makes a correlation.

{table(columns, rows)}"""


def _variants(report: Mapping[str, Any]) -> str:
    found = report["variants"]
    base = found[NONE]["dice"]
    rows = []
    for name, row in found.items():
        cells = [f"{name}: {row['meaning']}", *(_number(row[key]) for key in MEASURES)]
        cells.append(f"{row['points_right']} of {len(report['film']['points'])}" if report["film"]["points"] else "-")
        cells += [f"{score:.4f} ({score - base[domain]:+.4f})" for domain, score in row["dice"].items()]
        rows.append(cells)
    names = candidates(found, len(report["film"]["points"]))
    verdict = (
        f"Better on the film (rules by {BETTER['plausibility']}, points by {BETTER['points']:.0%}, or parts fewer by "
        f"{BETTER['parts']:.0%}), no worse in any\nother column of the film, and at most {LOSS} Dice lost on standard "
        f"patients: **{', '.join(names) or 'none'}**."
    )
    columns = ["change", *MEASURES, "points right", *(f"Dice, {domain} (difference)" for domain in base)]
    return f"""## Cheap changes of the frames

Each is applied to the part of a frame that the network sees. First the film without labels, then Dice of
{report["changed_patients"]} of the synthetic patients of each domain.

{table(columns, rows)}

{verdict} The pictures have the last word."""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"
