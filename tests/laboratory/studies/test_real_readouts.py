"""Records of evaluations without labels, from what bundle.engines.zero_label gives."""

import math

import pytest
import torch

from bundle.engines.zero_label import ZeroLabelScores
from bundle.laboratory.studies import real_readouts as real_zero
from bundle.laboratory.studies.real_readouts import TEACHER_ITSELF, zero_label_records
from bundle.metrics.report import EvaluationTable


@pytest.fixture
def scores(monkeypatch):
    def score(_folder, films, _prompts, sources, teacher):
        assert teacher == "lite_medsam"
        tables = {}
        for source in sources:
            table = tables["box", source] = EvaluationTable(films.structures)
            label = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
            label[0, 0, 2:6, 2:6] = True
            table.update(label if source == "teacher" else torch.zeros_like(label), label, ["p1"], ["c"], [0])
        return ZeroLabelScores(tables, {source: [1.0, 3.0, 2.0] for source in sources if source != "filled box"})

    monkeypatch.setattr(real_zero, "zero_label_scores", score)


def records(scores, sources):
    return zero_label_records("folder", "list", "lite_medsam", "all three", 2, "key", sources)


def test_a_student_is_recorded_by_its_arm(scores):
    (found,) = records(scores, ("student",))
    assert (found.key, found.variant, found.seed, found.task) == ("key box student", "all three", 2, "box")
    assert found.splits["test"] == {"dice": {"p1": {"lung": 0.0}}, "hd95": {"p1": {"lung": None}}}
    assert found.measured == {}


def test_beside_the_teacher_a_student_gives_its_time_alone(scores):
    teacher, box = records(scores, TEACHER_ITSELF)
    assert (teacher.variant, box.variant) == ("teacher", "filled box")
    assert teacher.measured == {"milliseconds of teacher": 2.0, "milliseconds of student": 2.0}
    assert math.isclose(teacher.splits["test"]["dice"]["p1"]["lung"], 1.0)
