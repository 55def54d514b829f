"""Clinical measures of a study as a table, with a JSON sidecar for what is no table."""

from collections.abc import Mapping
from pathlib import Path

from bundle.atomic import write_csv, write_json
from bundle.inference.sidecar import INTENDED_USE
from bundle.metrics.kinematics import SwallowMeasures

COLUMNS = ["measure", "value", "unit", "uncertainty", "frames", "reason"]


def write_measures(
    measures: SwallowMeasures, path: str | Path, model: Mapping[str, str] | None = None, pixel_aspect: float = 1.0
) -> list[Path]:
    """Write one row per measure; a value that is not computable is empty, and ``reason`` says what it needs.

    Args:
        measures: As from ``measure_swallow``.
        path: CSV file; the sidecar beside it, ending in .json, has events, frames for review and warnings.
        model: Name and version of what made the masks, for the sidecar.
        pixel_aspect: Height of the clip's pixels divided by their width, for the sidecar.

    Returns:
        The table's and the sidecar's path.
    """
    path = Path(path)
    rows = (
        {
            "measure": measure.name,
            "value": measure.value,
            "unit": measure.unit,
            "uncertainty": measure.uncertainty,
            "frames": measure.num_frames,
            "reason": measure.reason,
        }
        for measure in measures.measures.values()
    )
    content = {
        "content": "measures from automatic masks of one swallow; frames count from 1",
        "intended_use": INTENDED_USE,
        "model": dict(model or {}),
        "pixel_aspect": round(pixel_aspect, 6),
        "pixels": "the width of one is the unit; its height is pixel_aspect times that",
        "events": {name: frame + 1 for name, frame in measures.events.items()},
        "airway_frames": [frame + 1 for frame in measures.airway_frames],
        "warnings": list(measures.warnings),
    }
    return [write_csv(path, COLUMNS, rows), write_json(path.with_suffix(".json"), content)]
