"""How far clinical measures from masks agree with the phantom's true motion, from true and from predicted masks."""

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
from bundle.metrics.kinematics import measure_swallow, visible_field
from bundle.phantom.study import PhantomStudy, generate_study
from bundle.structures import STRUCTURES

FIRST_SEED = 31_000_000
"""Patients of no data set and of no teacher's training."""

SIZE, NUM_FRAMES, FRAME_RATE = 384, 84, 30.0
FROM_TRUE, FROM_PREDICTED = "true masks", "predicted masks"
COLUMNS = ["measure", "unit", "masks", "bias", "lower", "upper", "patients", "not_computable", "within"]
ROW_COLUMNS = ["patient", "measure", "unit", "truth", "tolerance", FROM_TRUE, FROM_PREDICTED]


@torch.inference_mode()
def measure_agreement(
    network: Callable[..., torch.Tensor] | None,
    image_size: int,
    output_dir: str | Path,
    num_patients: int = 30,
    size: int = SIZE,
) -> list[dict[str, Any]]:
    """Measure synthetic swallows from true and from predicted masks and compare both with their true motion.

    Without a network (frames to logits of the 12 structures), true masks only. ``output_dir`` gets ``values.csv``, one
    row per patient and measure, and ``agreement.csv`` and ``.json``.

    Returns:
        Rows of ``agreement.csv``: Bland and Altman's bias and limits, in the measure's unit, and in how many swallows
        the measure is within 2% of the truth or one frame.

    Raises:
        ValueError: If there are fewer than two patients.
    """
    if num_patients < 2:
        raise ValueError(f"limits of agreement need two patients or more, got {num_patients}")
    inferer, hold = ClipInferer(image_size, progress=False), HoldTogether(STRUCTURES)
    values = []
    for patient in trange(num_patients, desc="swallows", unit="patient"):
        study = generate_study(FIRST_SEED + patient, size, NUM_FRAMES, "consecutive", frame_rate=FRAME_RATE)
        predicted = None if network is None else hold(inferer(torch.from_numpy(study.frames), network).numpy())
        values += _values(patient, study, predicted)
    rows = summarize(values)
    folder = Path(output_dir)
    write_csv(folder / "values.csv", ROW_COLUMNS, values)
    write_csv(folder / "agreement.csv", COLUMNS, rows)
    write_json(
        folder / "agreement.json", {"data": "synthetic phantom", "patients": num_patients, "size": size, "rows": rows}
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
            row = {"measure": measure, "unit": unit, "masks": kind, "not_computable": lacking, "within": within}
            if len(found) - lacking < 2:
                rows.append(row | {"bias": None, "lower": None, "upper": None, "patients": len(found) - lacking})
                continue
            agreement = bland_altman(found, truth)
            limits = {key: round(getattr(agreement, key), 4) for key in ("bias", "lower", "upper")}
            rows.append(row | limits | {"patients": agreement.num_pairs})
    return rows


def format_agreement(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: bias [lower, upper limit] and number within tolerance, from true and from predicted masks."""
    lines = [
        "| measure | unit | true masks | right | predicted masks | right | not computable |",
        "|---|---|---|---|---|---|---|",
    ]
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        total = other["patients"] + other["not_computable"]
        lines.append(
            f"| {one['measure']} | {one['unit']} | {_limits(one)} | {one['within']} of {total} "
            f"| {_limits(other)} | {other['within']} of {total} | {other['not_computable']} of {total} |"
        )
    return "\n".join(lines)


def _values(patient: int, study: PhantomStudy, predicted: np.ndarray | None) -> list[dict[str, Any]]:
    visible, times = visible_field(study.frames), study.frame_times_ms
    found = measure_swallow(study.masks, times, visible=visible).measures
    other = {} if predicted is None else measure_swallow(predicted, times, visible=visible).measures
    truth = true_measures(study)
    tolerance = tolerances(study, truth)
    return [
        {
            "patient": patient,
            "measure": name,
            "unit": found[name].unit,
            "truth": value,
            "tolerance": tolerance[name],
            FROM_TRUE: found[name].value,
            FROM_PREDICTED: other[name].value if name in other else None,
        }
        for name, value in truth.items()
    ]


def _limits(row: dict[str, Any]) -> str:
    if row["bias"] is None:
        return "–"
    return f"{row['bias']:+.3g} [{row['lower']:.3g}, {row['upper']:.3g}]"
