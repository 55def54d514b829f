"""How a structure failed: worked out by hand on masks of 20 x 20 pixels, 2 x 2 mm each."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bundle.laboratory.studies.failures import find_failures, judge_patient
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES

SPACING = (2.0, 2.0)


def square(top: int = 0, left: int = 0, side: int = 0, rows: int | None = None) -> np.ndarray:
    mask = np.zeros((20, 20), bool)
    mask[top : top + (side if rows is None else rows), left : left + side] = True
    return mask


def score(pred: np.ndarray, label: np.ndarray) -> float:
    return 2 * (pred & label).sum() / (pred.sum() + label.sum()) if label.any() else math.nan


@pytest.mark.parametrize(
    ("kind", "pred", "label", "distance_mm"),
    [
        ("missed", square(), square(4, 4, 6), math.nan),
        ("missed", square(4, 4, 1), square(4, 4, 6), 5 * math.sqrt(2)),
        ("invented", square(4, 4, 3), square(), math.nan),
        ("misplaced", square(4, 11, 4), square(4, 4, 4), 14.0),
        ("too small", square(4, 4, 6, rows=1), square(4, 4, 6), 5.0),
        ("too large", square(2, 2, 10), square(4, 4, 5), math.hypot(1, 1)),
        ("wrong outline", square(8, 2, 15, rows=3), square(2, 8, 3, rows=15), 0.0),  # a bar across a bar
    ],
)
def test_the_kind_of_a_failure(kind, pred, label, distance_mm):
    (found,) = find_failures(pred[None], label[None], np.array([score(pred, label)]), ["c2"], SPACING)
    assert found.kind == kind
    assert found.distance_mm == pytest.approx(distance_mm, nan_ok=True)
    assert (found.label_mm2, found.pred_mm2) == (4 * label.sum(), 4 * pred.sum())


def test_what_is_half_right_or_rightly_absent_has_not_failed():
    label = np.stack([square(4, 4, 6), square()])
    pred = np.stack([square(4, 4, 6, rows=3), square()])
    scores = np.array([score(p, t) for p, t in zip(pred, label, strict=True)])
    assert scores[0] > 0.5
    assert find_failures(pred, label, scores, ["c2", "c3"], SPACING) == ()


def test_failures_come_worst_first_and_invented_ones_last():
    label = np.stack([square(), square(0, 0, 6), square(0, 0, 6)])
    pred = np.stack([square(0, 0, 6), square(0, 0, 6, rows=1), square()])
    scores = np.array([score(p, t) for p, t in zip(pred, label, strict=True)])
    assert [one.structure for one in find_failures(pred, label, scores, ["a", "b", "c"], SPACING)] == ["c", "b", "a"]


@pytest.fixture(scope="module")
def study():
    return generate_study(3, size=64, num_frames=3)


def test_true_masks_have_no_failure(study):
    found = judge_patient(study, study.masks.astype(bool), STRUCTURES)
    assert found.mean_dice == 1.0
    assert [frame.failures for frame in found.frames] == [()] * 3
    assert found.frames[0].label_mm2[1] == pytest.approx(study.masks[0, 1].sum() * study.pixel_spacing_mm[0] ** 2)


def test_a_patients_worst_frame_is_kept_with_its_masks(study):
    pred = study.masks.astype(bool)
    pred[1] = False
    found = judge_patient(study, pred, STRUCTURES)
    assert (found.worst.result.index, found.worst.result.mean_dice) == (1, 0.0)
    assert {failure.kind for failure in found.worst.result.failures} == {"missed"}
    np.testing.assert_array_equal(found.worst.label, study.masks[1].astype(bool))
    assert found.mean_dice == pytest.approx(2 / 3)


def test_a_frame_without_structures_counts_for_nothing(study):
    masks = study.masks.copy()
    masks[2] = 0
    found = judge_patient(replace(study, masks=masks), study.masks.astype(bool), STRUCTURES)
    assert found.mean_dice == 1.0
    assert {failure.kind for failure in found.frames[2].failures} == {"invented"}
