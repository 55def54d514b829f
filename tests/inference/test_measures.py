"""The table of measures: values where there are, reasons where there are not."""

import csv
import json

import numpy as np

from bundle.inference.measures import write_measures
from bundle.metrics.kinematics import measure_swallow
from bundle.structures import STRUCTURES


def test_a_table_says_what_is_missing_and_counts_frames_from_1(tmp_path):
    masks = np.zeros((4, len(STRUCTURES), 64, 64), bool)
    masks[:, STRUCTURES.index("c2"), 4:12, 4:12] = True
    masks[:, STRUCTURES.index("c4"), 24:32, 4:12] = True
    masks[2, STRUCTURES.index("bolus"), 40:44, 40:44] = True
    masks[2, STRUCTURES.index("trachea"), 40:50, 40:44] = True
    measures = measure_swallow(masks, None)
    table, sidecar = write_measures(measures, tmp_path / "measures.csv", {"name": "test", "version": "0"})
    rows = {row["measure"]: row for row in csv.DictReader(table.read_text().splitlines())}
    assert set(rows) == set(measures.measures)
    assert rows["hyoid_speed"]["value"] == ""
    assert rows["hyoid_speed"]["reason"].startswith("not computable: needs ")
    assert float(rows["bolus_in_airway"]["value"]) == 1
    content = json.loads(sidecar.read_text())
    assert content["airway_frames"] == [3]
    assert content["intended_use"] == "research use only, not for diagnosis"
    assert content["model"] == {"name": "test", "version": "0"}
