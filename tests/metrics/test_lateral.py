"""Measures are taken of what stands as a neck does in a lateral view, and of nothing else."""

import numpy as np
import pytest

from bundle.metrics.kinematics import measure_film, measure_if_lateral
from bundle.metrics.kinematics.lateral import REFUSAL, is_lateral
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    return generate_study(7, size=160, num_frames=8).masks.astype(bool)


def without(masks: np.ndarray, *names: str) -> np.ndarray:
    changed = masks.copy()
    changed[:, [STRUCTURES.index(name) for name in names]] = False
    return changed


@pytest.mark.parametrize("domain", ["standard", "hard"])
def test_a_neck_is_measured_as_ever_whichever_way_it_faces(domain):
    masks = generate_study(3, size=160, num_frames=8, domain=domain).masks.astype(bool)
    for seen in (masks, masks[..., ::-1]):
        measures = measure_if_lateral(seen, None)
        assert measures == measure_film(seen, None)
        assert measures.refusal == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda masks: masks[..., ::-1, :],
        lambda masks: np.roll(masks, 1, axis=1),
        lambda masks: np.zeros_like(masks),
        lambda masks: without(masks, "hyoid"),
        lambda masks: without(masks, "pharynx", "c3"),
        lambda masks: np.random.default_rng(0).random(masks.shape) < 0.02,
    ],
    ids=["upside down", "structures exchanged", "nothing", "no hyoid", "no C3 nor pharynx", "specks"],
)
def test_nothing_is_measured_where_the_structures_do_not_stand_as_a_necks(masks, change):
    film = measure_if_lateral(np.ascontiguousarray(change(masks)), np.arange(8) * 40.0)
    (measures,) = film.swallows
    assert (film.refusal, film.warnings, film.numbered()) == (REFUSAL, (), [(None, measures)])
    assert {measure.value for measure in measures.measures.values()} == {None}
    assert {measure.reason for measure in measures.measures.values()} == {f"not computable: {REFUSAL}"}
    assert (measures.events, measures.airway_frames, measures.warnings) == ({}, (), ())


@pytest.mark.parametrize("step", [(3, 1), (1, 3)])
def test_pixels_may_be_oblong(masks, step):
    assert is_lateral(masks[:, :, :: step[0], :: step[1]], STRUCTURES)


def test_frames_that_show_nothing_of_a_neck_do_not_count(masks):
    dark = np.zeros_like(masks)
    assert is_lateral(np.concatenate([dark, masks, dark]), STRUCTURES)
    assert not is_lateral(dark, STRUCTURES)


def test_one_frame_that_is_wrong_does_not_spoil_a_film(masks):
    changed = masks.copy()
    changed[3] = np.roll(changed[3], 1, axis=0)
    assert is_lateral(changed, STRUCTURES)


def test_a_model_of_other_structures_is_not_asked(masks):
    assert is_lateral(masks[:, :2], ("lung", "heart"))
