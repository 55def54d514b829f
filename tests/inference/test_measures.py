"""The table of measures: values where there are, reasons where there are not."""

import csv
import json

import numpy as np

from bundle.inference.study import SegmentedStudy
from bundle.inference.writers import write_measures
from bundle.metrics.kinematics import measure_film
from bundle.structures import STRUCTURES
from tests.inference.conftest import make_clip


def test_a_table_says_what_is_missing_and_counts_frames_from_1(tmp_path):
    masks = np.zeros((4, len(STRUCTURES), 64, 64), bool)
    masks[:, STRUCTURES.index("c2"), 4:12, 4:12] = True
    masks[:, STRUCTURES.index("c4"), 24:32, 4:12] = True
    masks[2, STRUCTURES.index("bolus"), 40:44, 40:44] = True
    masks[2, STRUCTURES.index("trachea"), 40:50, 40:44] = True
    study = SegmentedStudy(
        masks, make_clip(4, 64, 64, frame_times_ms=None), STRUCTURES, {"name": "test", "version": "0"}
    )
    study.__dict__["measures"] = measure_film(masks, None)  # whether these are a neck is another test's question
    write_measures(study, tmp_path)
    rows = {row["measure"]: row for row in csv.DictReader((tmp_path / "measures.csv").read_text().splitlines())}
    (whole,) = study.measures.swallows
    assert set(rows) == set(whole.measures)
    assert {row["swallow"] for row in rows.values()} == {""}  # no whole swallow
    assert rows["hyoid_speed"]["value"] == ""
    assert rows["hyoid_speed"]["reason"].startswith("not computable: needs ")
    assert float(rows["bolus_in_airway"]["value"]) == 1
    content = json.loads((tmp_path / "measures.json").read_text())
    assert content["no_swallow"] == "needs hyoid"
    assert content["swallows"][0]["airway_frames"] == [3]
    assert "Sia et al." in content["human_error"]["hyoid_excursion_xy"]
    assert content["human_error"]["pharyngeal_transit"] == "no human figure found"
    assert content["intended_use"] == "research use only, not for diagnosis"
    assert content["model"] == {"name": "test", "version": "0"}
