"""The failures' page and picture: worst frames, named structures, and sentences that follow the numbers."""

import numpy as np
import pytest

from bundle.laboratory.studies.failure_report import draw_failures, failures_section, worst_patients
from bundle.laboratory.studies.failures import judge_patient
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES


@pytest.fixture(scope="module")
def patients():
    """The third patient's mandible is missed in the last frame, and a vertebra is moved by 20 pixels."""
    found = []
    for seed in (1, 2, 3):
        study = generate_study(seed, size=64, num_frames=2)
        pred = study.masks.astype(bool)
        if seed == 3:
            pred[1, STRUCTURES.index("mandible")] = False
            pred[1, STRUCTURES.index("c3")] = np.roll(pred[1, STRUCTURES.index("c3")], 20, axis=1)
        found.append(judge_patient(study, pred, STRUCTURES))
    return found


def test_the_worst_patient_is_first(patients):
    assert [one.seed for one in worst_patients(patients, 2)] == [3, 1]


def test_the_section_says_what_failed_and_how(patients):
    text = failures_section(patients, worst_patients(patients, 2), STRUCTURES)
    assert "3 patients, 6 frames" in text
    assert "have a Dice below 0.5: 1 missed, 1 misplaced, 0 too small, 0 too large, 0 wrong outline." in text
    assert "| Mandible | 6 | 0.833 | 1 | 0 | 0 | 0 | 0 | 0 |" in text
    assert "| C3 | 6 | 0.833 | 0 | 0 | 1 | 0 | 0 | 0 |" in text
    first, second = text[text.index("**A.**") :].split("**B.**")
    assert "Patient 3, frame 2 of 2" in first
    assert "- Mandible: missed; Dice 0.00" in first
    assert "predicted 0 mm²." in first
    assert "- C3: misplaced; Dice 0.00" in first
    assert "- No structure has a Dice below 0.5." in second


def test_the_picture_has_a_row_per_patient_and_names_what_failed(patients):
    figure = draw_failures(worst_patients(patients, 2), STRUCTURES)
    rows = np.array(figure.axes).reshape(2, 4)
    written = [[text.get_text() for text in axes.texts] for axes in rows[:, 3]]
    assert {"Mandible: missed", "C3: misplaced"} <= set(written[0])
    assert len(written[1]) == 1
    assert written[1][0].endswith("mean Dice 1.00")
    truth, prediction = (len(axes.collections) for axes in rows[0, 1:3])
    assert truth == prediction + 1  # the mandible
    widths = {float(lines.get_linewidths()[0]) for axes in rows[0, 1:3] for lines in axes.collections}
    assert len(widths) == 2  # what failed is bold
