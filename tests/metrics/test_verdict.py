"""What is a lateral view of a swallow, by pictures and masks; measures are taken of nothing else."""

import numpy as np
import pytest

from bundle.metrics.kinematics import measure_film, measure_if_lateral
from bundle.metrics.kinematics.verdict import NO_NECK, NOTHING_SEEN, UNLIKE, Look, Verdict, judge_study
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
    refusal = f"this does not look like a lateral swallow study: {NO_NECK}, so nothing is measured"
    assert (film.refusal, film.warnings, film.numbered()) == (refusal, (), [(None, measures)])
    assert {measure.value for measure in measures.measures.values()} == {None}
    assert {measure.reason for measure in measures.measures.values()} == {f"not computable: {refusal}"}
    assert (measures.events, measures.airway_frames, measures.warnings) == ({}, (), ())


def test_nothing_is_measured_of_a_neck_that_was_refused(masks):
    assert measure_if_lateral(masks, None, verdict=Verdict(UNLIKE)).refusal == Verdict(UNLIKE).refusal


@pytest.mark.parametrize("step", [(3, 1), (1, 3)])
def test_pixels_may_be_oblong(masks, step):
    assert judge_study(masks[:, :, :: step[0], :: step[1]]).reason == ""


def test_large_masks_are_judged_as_small_ones_are(masks):
    large = masks.repeat(4, axis=2).repeat(4, axis=3)
    assert [frame.rules for frame in judge_study(large).frames] == [frame.rules for frame in judge_study(masks).frames]


def test_frames_that_show_nothing_of_a_neck_do_not_count(masks):
    dark = np.zeros_like(masks)
    verdict = judge_study(np.concatenate([dark, masks, dark]))
    assert verdict.reason == ""
    assert [frame.reason for frame in verdict.frames] == [*[NO_NECK] * 8, *[""] * 8, *[NO_NECK] * 8]
    assert judge_study(dark).reason == NO_NECK


def test_one_frame_that_is_wrong_does_not_spoil_a_film_and_is_named(masks):
    changed = masks.copy()
    changed[3] = np.roll(changed[3], 1, axis=0)
    verdict = judge_study(changed)
    assert verdict.reason == ""
    assert verdict.notes == (
        "1 of 8 frames that were checked do not look like a lateral swallow study, the first of them frame 4",
    )


def test_a_model_of_other_structures_is_not_asked(masks):
    verdict = judge_study(masks[:, :2], ("lung", "heart"))
    assert (verdict.reason, verdict.frames) == ("", ())


def test_half_of_the_pictures_decide(masks):
    far, near = [Look(index, distance=1.2) for index in range(4)], [Look(index, distance=0.8) for index in range(4, 7)]
    verdict = judge_study(masks, looks=[*far, *near])
    assert verdict.reason == UNLIKE
    assert [frame.reason for frame in verdict.frames] == [*[UNLIKE] * 4, *[""] * 4]
    assert judge_study(masks, looks=[*far[1:], *near, Look(7, distance=0.9)]).reason == ""


def test_empty_frames_are_left_out_and_a_study_of_them_is_refused(masks):
    empty = [Look(index, "empty", 3.0) for index in range(6)]
    verdict = judge_study(masks, looks=[*empty, Look(6, distance=0.7)])
    assert verdict.reason == ""
    assert verdict.describe()["refused"] == [*["empty"] * 6, "", ""]
    assert judge_study(masks, looks=empty).reason == NOTHING_SEEN


def test_what_is_kept_of_a_verdict_is_plain_and_counts_from_1(masks):
    described = judge_study(masks[:2], looks=[Look(0, distance=0.51237)], off="").describe()
    assert described["frames"] == [1, 2]
    assert described["distances"] == [0.512, None]
    assert described["refusal"] == ""
    assert all(0.9 < share <= 1 for share in described["rules"])
