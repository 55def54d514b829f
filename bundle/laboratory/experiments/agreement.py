"""How far clinical measures from masks agree with the phantom's true motion, from true and from predicted masks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import trange

from bundle.atomic import write_csv, write_json
from bundle.inference.parts.hold_together import HoldTogether
from bundle.inference.predictor import ClipInferer
from bundle.laboratory.bland_altman import bland_altman
from bundle.laboratory.experiments.true_measures import tolerances, true_measures
from bundle.laboratory.intraclass import intraclass_correlation
from bundle.metrics.kinematics import measure_film, measure_swallow, visible_field
from bundle.metrics.measured_errors import KEY
from bundle.metrics.reliability import human_reliability
from bundle.phantom.study import Domain, PhantomStudy, generate_study
from bundle.structures import STRUCTURES
from bundle.weights import file_sha256

FIRST_SEED = 31_000_000
"""Patients of no data set and of no teacher's training."""

SIZE, NUM_FRAMES, FRAME_RATE = 384, 84, 30.0
FROM_TRUE, FROM_PREDICTED = "true masks", "predicted masks"
COLUMNS = ["measure", "unit", "masks", "bias", "lower", "upper", "icc", "patients", "not_computable", "within", "limit"]
OWN_RULE, HUMAN_LIMIT = "2% or one frame", "people"
"""What a value is held to: our own rule, or what 95% of people's errors are below, where that is known."""

ROW_COLUMNS = ["patient", "measure", "unit", "truth", "tolerance", FROM_TRUE, FROM_PREDICTED]


@torch.inference_mode()
def measure_agreement(
    network: Callable[..., torch.Tensor] | None,
    image_size: int,
    output_dir: str | Path,
    num_patients: int = 30,
    size: int = SIZE,
    domain: Domain = "standard",
) -> list[dict[str, Any]]:
    """Measure synthetic swallows from true and from predicted masks and compare both with their true motion.

    Without a network (frames to logits of the 12 structures), true masks only. ``output_dir`` gets ``values.csv``, one
    row per patient and measure, and ``agreement.csv`` and ``.json``.

    A film in which not exactly one swallow is found has no measure at all.

    Returns:
        Rows of ``agreement.csv``: Bland and Altman's bias and limits, in the measure's unit, the intraclass
        correlation, and in how many swallows the measure is within what people err by or, where nobody knows that,
        within 2% of the truth or one frame.

    Raises:
        ValueError: If there are fewer than two patients.
    """
    if num_patients < 2:
        raise ValueError(f"limits of agreement need two patients or more, got {num_patients}")
    inferer, hold = ClipInferer(image_size, progress=False), HoldTogether(STRUCTURES)
    values = []
    for patient in trange(num_patients, desc="swallows", unit="patient"):
        study = generate_study(FIRST_SEED + patient, size, NUM_FRAMES, "consecutive", FRAME_RATE, domain=domain)
        predicted = None if network is None else hold(inferer(torch.from_numpy(study.frames), network).numpy())
        values += _values(patient, study, predicted)
    rows = summarize(values)
    folder = Path(output_dir)
    write_csv(folder / "values.csv", ROW_COLUMNS, values)
    write_csv(folder / "agreement.csv", COLUMNS, rows)
    write_json(
        folder / "agreement.json",
        {"data": "synthetic phantom", "domain": domain, "patients": num_patients, "size": size, "rows": rows},
    )
    return rows


def summarize(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bias and limits of agreement with the truth, per measure and kind of masks; None with fewer than two pairs."""
    rows = []
    for measure, unit in dict.fromkeys((row["measure"], row["unit"]) for row in values):
        these = [row for row in values if row["measure"] == measure]
        truth, tolerance = (np.array([row[key] for row in these], float) for key in ("truth", "tolerance"))
        for kind in (FROM_TRUE, FROM_PREDICTED):
            found = np.array([row[kind] for row in these], float)  # None becomes NaN
            lacking = int(np.isnan(found).sum())
            within = int((abs(found - truth) <= tolerance).sum())
            limit = human_reliability(measure).limit
            row = {
                "measure": measure,
                "unit": unit,
                "masks": kind,
                "icc": None if (icc := intraclass_correlation(found, truth)) is None else round(icc, 3),
                "not_computable": lacking,
                "within": within,
                "limit": OWN_RULE if limit is None else HUMAN_LIMIT,
            }
            if len(found) - lacking < 2:
                rows.append(row | {"bias": None, "lower": None, "upper": None, "patients": len(found) - lacking})
                continue
            agreement = bland_altman(found, truth)
            limits = {key: round(getattr(agreement, key), 4) for key in ("bias", "lower", "upper")}
            rows.append(row | limits | {"patients": agreement.num_pairs})
    return rows


def format_agreement(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: bias [lower, upper limit], ICC and number within the limit, from true and predicted masks."""
    lines = [
        "| measure | unit | people | held to | true masks | right | predicted masks | ICC | right | not computable |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        total = other["patients"] + other["not_computable"]
        people = human_reliability(one["measure"])
        lines.append(
            f"| {one['measure']} | {one['unit']} | {people.words} "
            f"| {one['limit'] if people.limit is None else f'{people.limit:g}'} "
            f"| {_limits(one)} | {one['within']} of {total} | {_limits(other)} "
            f"| {'–' if other['icc'] is None else other['icc']} | {other['within']} of {total} "
            f"| {other['not_computable']} of {total} |"
        )
    return "\n".join(lines)


def record_errors(rows: list[dict[str, Any]], checkpoint: str | Path, words: str) -> None:
    """Put what 95% of errors of the predicted masks are below into the card of the weights, for the product to show.

    Bias counts as error: the limit is the larger of the two limits of agreement.
    """
    card_file = Path(checkpoint).with_suffix(".json")
    card = json.loads(card_file.read_text(encoding="utf-8"))
    limits = {
        row["measure"]: round(max(abs(row["lower"]), abs(row["upper"])), 4)
        for row in rows
        if row["masks"] == FROM_PREDICTED and row["bias"] is not None
    }
    write_json(card_file, card | {KEY: {"words": words, "sha256": file_sha256(checkpoint), "limits": limits}})


def _values(patient: int, study: PhantomStudy, predicted: np.ndarray | None) -> list[dict[str, Any]]:
    found = _of_one_swallow(study.masks, study)
    other = {} if predicted is None else _of_one_swallow(predicted, study)
    truth = true_measures(study)
    units = {name: measure.unit for name, measure in measure_swallow(study.masks[:1], None).measures.items()}
    tolerance = tolerances(study, truth)
    return [
        {
            "patient": patient,
            "measure": name,
            "unit": units[name],
            "truth": value,
            "tolerance": human_reliability(name).limit or tolerance[name],
            FROM_TRUE: found.get(name),
            FROM_PREDICTED: other.get(name),
        }
        for name, value in truth.items()
    ]


def _of_one_swallow(masks: np.ndarray, study: PhantomStudy) -> dict[str, float | None]:
    """Values by measure; none where not exactly one swallow is found."""
    film = measure_film(masks, study.frame_times_ms, visible=visible_field(study.frames))
    if film.no_swallow or len(film.swallows) != 1:
        return {}
    return {name: measure.value for name, measure in film.swallows[0].measures.items()}


def _limits(row: dict[str, Any]) -> str:
    if row["bias"] is None:
        return "–"
    return f"{row['bias']:+.3g} [{row['lower']:.3g}, {row['upper']:.3g}]"
