"""Swallows of a film: told apart, measured each, and refused where there is no whole one, also from noisy masks.

The phantom is synthetic: this tests how events are found, nothing clinical.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from bundle.metrics.kinematics import FilmMeasures, SwallowMeasures, measure_film, measure_swallow
from bundle.metrics.kinematics.body import body_pixels, steady, without_spikes
from bundle.metrics.kinematics.clip_masks import ClipMasks
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES

STEP_MS = 40.0  # 25 frames per second
HYOID, UES, PHARYNX, BOLUS = (
    STRUCTURES.index(name) for name in ("hyoid", "upper_oesophageal_sphincter", "pharynx", "bolus")
)
MEASURES = ("hyoid_excursion_xy", "ues_opening_duration", "pharyngeal_transit", "ues_maximal_width")


@dataclass(frozen=True)
class Film:
    """A film of one synthetic swallow."""

    masks: np.ndarray
    measured: SwallowMeasures  # as one swallow, from clean masks

    def times(self, num_frames: int) -> np.ndarray:
        return STEP_MS * np.arange(num_frames)


@pytest.fixture(scope="module")
def film() -> Film:
    study = generate_study(31_000_001, 192, 72, "consecutive", frame_rate=25.0)
    masks = study.masks.astype(bool)
    return Film(masks, measure_swallow(masks, STEP_MS * np.arange(len(masks))))


def measure(film: Film, masks: np.ndarray) -> FilmMeasures:
    return measure_film(masks, film.times(len(masks)))


def with_specks(masks: np.ndarray, share: float = 0.3) -> np.ndarray:
    """Two squares of 4 x 4 pixels anywhere, in some frames of each structure."""
    rng = np.random.default_rng(0)
    noisy = masks.copy()
    for mask in noisy.reshape(-1, *masks.shape[2:]):
        if mask.any() and rng.random() < share:
            for row, column in rng.integers(0, masks.shape[-1] - 4, (2, 2)):
                mask[row : row + 4, column : column + 4] = True
    return noisy


def with_gaps(masks: np.ndarray, share: float = 0.08) -> np.ndarray:
    """Each structure is lost in some frames."""
    noisy = masks.copy()
    noisy[np.random.default_rng(1).random(masks.shape[:2]) < share] = False
    return noisy


def assert_near(found: SwallowMeasures, clean: SwallowMeasures, shift: int = 0) -> None:
    """Within what people err by, or two frames of time; events within two frames, the onset within three."""
    limits = dict(zip(MEASURES, (6.0, 2 * STEP_MS, 3 * STEP_MS, 3.4), strict=True))  # a pixel is 3.4 %C2-4
    for name, limit in limits.items():
        assert found.measures[name].value == pytest.approx(clean.measures[name].value, abs=limit), name
    for event, frame in clean.events.items():
        assert abs(found.events[event] - shift - frame) <= (3 if event == "hyoid_onset" else 2), event


# Noise


def test_a_clean_film_of_one_swallow_gives_what_the_swallow_gives(film):
    found = measure(film, film.masks)
    ((number, swallow),) = found.numbered()
    assert (number, found.no_swallow, swallow.frames) == (1, "", (0, 72))
    assert swallow.measures == film.measured.measures
    assert swallow.events == film.measured.events


@pytest.mark.parametrize("spoil", [with_specks, with_gaps, lambda masks: with_gaps(with_specks(masks))])
def test_specks_and_lost_frames_change_no_measure_by_more_than_people_err(film, spoil):
    (swallow,) = measure(film, spoil(film.masks)).swallows
    assert_near(swallow, film.measured)


def test_a_sphincter_that_shuts_for_one_frame_is_one_opening(film):
    masks = film.masks.copy()
    middle = (film.measured.events["ues_opening"] + film.measured.events["ues_closing"]) // 2
    masks[middle, UES] = masks[0, UES]
    (swallow,) = measure(film, masks).swallows
    assert swallow.measures["ues_opening_duration"].value == film.measured.measures["ues_opening_duration"].value


def test_a_sphincter_that_widens_for_one_frame_long_before_does_not_open_then(film):
    masks = film.masks.copy()
    masks[5, UES] = np.roll(masks[5, UES], 4, axis=-1) | masks[5, UES]
    (swallow,) = measure(film, masks).swallows
    assert swallow.events["ues_opening"] == film.measured.events["ues_opening"]


def test_a_mask_that_comes_back_wider_than_it_was_shuts_all_the_same(film):
    masks = film.masks.copy()
    after = slice(film.measured.events["ues_closing"], None)
    masks[after, UES] |= np.roll(masks[after, UES], 1, axis=-1)  # by a fifth of the opening
    (swallow,) = measure(film, masks).swallows
    assert abs(swallow.events["ues_closing"] - film.measured.events["ues_closing"]) <= 2


def test_residue_that_lay_there_before_is_no_entry(film):
    masks = film.masks.copy()
    rows, columns = np.nonzero(masks[:, PHARYNX].all(axis=0))
    masks[:, BOLUS, rows[:9], columns[:9]] = True
    (swallow,) = measure(film, masks).swallows
    assert abs(swallow.events["bolus_enters_pharynx"] - film.measured.events["bolus_enters_pharynx"]) <= 2


def test_an_opening_that_lasts_longer_than_a_swallow_is_refused_with_what_depends_on_it(film):
    masks = film.masks.copy()
    opening = film.measured.events["ues_opening"]
    slow = np.concatenate(
        [masks[: opening + 8], masks[opening + 7 : opening + 8].repeat(40, axis=0), masks[opening + 8 :]]
    )
    (swallow,) = measure(film, slow).swallows
    reason = swallow.measures["ues_opening_duration"].reason
    assert reason.startswith("not computable: needs masks that tell the upper_oesophageal_sphincter open from shut")
    assert swallow.measures["pharyngeal_transit"].reason == reason
    assert swallow.measures["hyoid_excursion_xy"].value == pytest.approx(
        film.measured.measures["hyoid_excursion_xy"].value, abs=2
    )


# Two swallows, none, and part of one


@pytest.mark.parametrize("spoil", [lambda masks: masks, with_specks])
def test_two_swallows_are_told_apart_and_each_is_measured(film, spoil):
    found = measure(film, spoil(np.concatenate([film.masks, film.masks])))
    assert [number for number, _ in found.numbered()] == [1, 2]
    for shift, swallow in zip((0, 72), found.swallows, strict=True):
        assert_near(swallow, film.measured, shift)
        assert all(swallow.frames[0] <= frame < swallow.frames[1] for frame in swallow.events.values())


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (slice(0, 42), "the film ends while the hyoid is raised"),
        (slice(38, None), "the film begins while the hyoid is raised"),
        (slice(0, 22), "the hyoid never rises by 12 %C2-4 and falls again"),
    ],
)
def test_a_film_without_a_whole_swallow_is_refused_with_the_reason(film, part, why):
    found = measure(film, film.masks[part])
    assert why in found.no_swallow
    ((number, whole),) = found.numbered()
    assert (number, whole.events) == (None, {})
    assert {name for name, m in whole.measures.items() if m.value is not None} == {"c2_c4_length", "bolus_in_airway"}
    assert why in whole.measures["hyoid_excursion_xy"].reason


def test_a_swallow_that_the_film_cuts_does_not_spoil_the_whole_one_before_it(film):
    found = measure(film, np.concatenate([film.masks, film.masks[:42]]))
    (swallow,) = found.swallows
    assert_near(swallow, film.measured)
    assert "the film ends while the hyoid is raised: the swallow there is not whole" in found.warnings


def test_a_hyoid_that_moves_while_nothing_opens_nor_narrows_is_no_swallow(film):
    masks = film.masks.copy()
    masks[:, UES], masks[:, PHARYNX] = masks[:1, UES], masks[:1, PHARYNX]
    assert "neither does the sphincter open nor the pharynx narrow" in measure(film, masks).no_swallow


def test_without_frame_times_swallows_are_told_apart_and_nothing_is_timed(film):
    found = measure_film(np.concatenate([film.masks, film.masks]), None)
    assert len(found.swallows) == 2
    assert found.swallows[1].measures["ues_opening_duration"].reason == "not computable: needs frame times"


def test_a_model_without_a_hyoid_tells_no_swallow_and_says_so(film):
    names = [name for name in STRUCTURES if name != "hyoid"]
    found = measure_film(np.delete(film.masks, HYOID, axis=1), None, names)
    assert found.no_swallow == "needs hyoid"


# Small parts


def test_a_body_is_what_lies_where_most_of_it_is_and_a_clean_one_is_whole(film):
    mask = film.masks[0, HYOID].copy()
    rows, columns = body_pixels(mask)
    assert len(rows) == mask.sum()
    mask[:4, :4] = True
    assert [part.tolist() for part in body_pixels(mask)] == [rows.tolist(), columns.tolist()]


def test_a_long_thin_body_is_whole():
    mask = np.zeros((60, 9), bool)
    mask[5:55, 4] = True
    assert len(body_pixels(mask)[0]) == 50


def test_a_point_that_jumps_is_out_and_fast_motion_is_not():
    track = np.stack([np.array([0, 0, 0, 20, 45, 70, 90, 90, 90, 90.0]), np.zeros(10)], axis=1)
    assert steady(track).all()
    track[8] += 30
    assert np.flatnonzero(~steady(track)).tolist() == [8]


def test_a_spike_goes_and_a_slope_stays():
    assert without_spikes(np.array([0, 9, 0, 0, 1, 2, 3.0])).tolist() == [0, 0, 0, 0, 1, 2, 2]
    assert without_spikes(np.array([9, 0, 0.0])).tolist() == [0, 0, 0]


def test_a_part_of_masks_is_the_masks_of_its_frames(film):
    whole = ClipMasks(film.masks, film.times(72))
    part = whole.part(10, 20)
    alone = ClipMasks(film.masks[10:20], film.times(72)[10:20])
    np.testing.assert_array_equal(part.area("hyoid"), alone.area("hyoid"))
    np.testing.assert_array_equal(part.mask("hyoid", 3), alone.mask("hyoid", 3))
    np.testing.assert_array_equal(part.centroid("c2"), alone.centroid("c2"))
    assert (part.num_frames, part.milliseconds(0, 9)) == (10, 360.0)
