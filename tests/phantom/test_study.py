"""The generator's promises: contract, determinism, anatomy in place, truth that agrees with the masks."""

import numpy as np
import pytest

from bundle.phantom import PhantomStudy, generate_study
from bundle.phantom.anatomy import build_anatomy, cranium
from bundle.phantom.patient import draw_patient
from bundle.phantom.raster import Canvas
from bundle.structures import STRUCTURES

SEEDS = (0, 1, 2, 13)


@pytest.fixture(scope="module", params=SEEDS)
def study(request) -> PhantomStudy:
    return generate_study(request.param, size=160, num_frames=14)


def channel(study: PhantomStudy, name: str) -> np.ndarray:
    return study.masks[:, STRUCTURES.index(name)].astype(bool)


def centroid(mask: np.ndarray) -> np.ndarray:
    """(x, y) of a mask's center."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def test_frames_masks_and_times_have_the_contracted_shapes(study):
    assert study.frames.shape == (14, 1, 160, 160)
    assert study.frames.dtype == np.float32
    assert study.masks.shape == (14, 12, 160, 160)
    assert study.masks.dtype == np.uint8
    assert set(np.unique(study.masks)) == {0, 1}
    assert study.frame_times_ms.dtype == np.float64
    assert 0 <= study.frames.min() < study.frames.max() <= 1


def test_it_says_that_it_is_synthetic(study):
    assert study.description["synthetic"] is True


def test_the_same_seed_gives_the_same_study():
    first, second = generate_study(5, 64, 3), generate_study(5, 64, 3)
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.masks, second.masks)


def test_other_seeds_give_other_patients():
    assert generate_study(5, 64, 2).description["patient"] != generate_study(6, 64, 2).description["patient"]


def test_a_larger_size_shows_the_same_patient_at_the_same_place():
    small, large = generate_study(3, 96, 4), generate_study(3, 192, 4)
    half = large.masks.reshape(4, 12, 96, 2, 96, 2).mean(axis=(3, 5)) >= 0.5
    for name in ("tongue", "mandible", "pharynx", "c3"):
        a, b = small.masks[:, STRUCTURES.index(name)] > 0, half[:, STRUCTURES.index(name)]
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.93, name
    assert small.pixel_spacing_mm[0] == pytest.approx(2 * large.pixel_spacing_mm[0])
    reduced = large.frames.reshape(4, 1, 96, 2, 96, 2).mean(axis=(3, 5))
    assert abs(reduced - small.frames).mean() < 0.02


def test_every_structure_is_seen_somewhere_in_the_swallow(study):
    missing = [name for name in STRUCTURES if not channel(study, name).any()]
    assert not missing


def test_anatomy_is_where_it_belongs(study):
    """Spine behind pharynx behind hyoid; C2 above C3 above C4; trachea below the tongue."""
    center = {name: centroid(channel(study, name)[0]) for name in STRUCTURES}
    assert center["c3"][0] < center["pharynx"][0] < center["hyoid"][0] < center["mandible"][0] + 40
    assert center["c2"][1] < center["c3"][1] < center["c4"][1]
    assert center["tongue"][1] < center["hyoid"][1] < center["trachea"][1]
    assert center["epiglottis"][1] < center["upper_oesophageal_sphincter"][1]


def test_vertebrae_have_human_spacing(study):
    assert 30 < study.kinematics.c2_c4_mm < 45
    distance_px = np.linalg.norm(study.kinematics.c2_px - study.kinematics.c4_px, axis=1)
    np.testing.assert_allclose(distance_px * study.pixel_spacing_mm[0], study.kinematics.c2_c4_mm, rtol=1e-6)


def test_c2_with_its_dens_is_two_to_three_times_as_high_as_c3_and_stays_below_the_skull():
    canvas = Canvas(700, 2.0 * np.eye(2), np.array([50.0, 200.0]))
    for seed in range(20):
        anatomy = build_anatomy(draw_patient(np.random.default_rng([seed, 0])))
        forward = anatomy.spine.anterior(2.5)
        up = np.array([forward[1], -forward[0]])
        c2, c3 = (np.ptp(anatomy.vertebrae[level] @ up) for level in (2, 3))
        assert 2.0 < c2 / c3 < 3.0, seed
        overlap = canvas.mask(anatomy.vertebrae[2]) & canvas.mask(cranium(anatomy))
        assert overlap.sum() < 0.1 * canvas.mask(anatomy.vertebrae[2]).sum(), seed


def test_the_true_hyoid_lies_in_the_middle_of_its_mask(study):
    for mask, point in zip(channel(study, "hyoid"), study.kinematics.hyoid_px, strict=True):
        assert np.linalg.norm(centroid(mask) - point) < 1.5


def test_the_true_corners_touch_their_vertebrae(study):
    for name, points in (("c2", study.kinematics.c2_px), ("c4", study.kinematics.c4_px)):
        for mask, point in zip(channel(study, name), points, strict=True):
            rows, columns = np.nonzero(mask)
            assert np.hypot(columns - point[0], rows - point[1]).min() < 2.5


def test_the_hyoid_moves_up_and_forward(study):
    truth = study.kinematics
    forward, up = truth.hyoid_mm[truth.hyoid_peak_frame] - truth.hyoid_mm[0]
    assert forward > 3
    assert up > 3


def test_the_pharynx_is_narrowest_while_the_bolus_leaves_it(study):
    truth = study.kinematics
    assert truth.pharynx_area_mm2.min() < 0.6 * truth.pharynx_area_mm2[0]
    assert 0 < truth.time_s[truth.constriction_frame] < 1.5 * study.description["swallow"]["slowness"]


def test_contrast_is_dark_and_pharyngeal_air_is_bright():
    study = generate_study(13, 192, 14)
    swallowed = study.kinematics.bolus_head > 0.45
    before = int(np.flatnonzero(~swallowed)[-1])
    during = before + 1
    place = channel(study, "bolus")[during] & channel(study, "pharynx")[before] & ~channel(study, "bolus")[before]
    assert place.sum() > 50
    assert study.frames[during, 0][place].mean() < study.frames[before, 0][place].mean() - 0.08


def test_masks_show_bolus_in_the_airway_only_in_flagged_frames(study):
    airway = channel(study, "trachea") | channel(study, "laryngeal_vestibule")
    overlap = (channel(study, "bolus") & airway).any(axis=(1, 2))
    assert not overlap[~study.kinematics.bolus_in_airway].any()


def test_contrast_is_below_the_folds_in_aspiration_and_never_in_health():
    healthy = next(s for s in map(small_study, range(40)) if not s.description["penetration"])
    aspirated = next(s for s in map(small_study, range(40)) if s.description["aspiration"])
    assert not healthy.kinematics.bolus_in_airway.any()
    assert (channel(aspirated, "bolus") & channel(aspirated, "trachea")).any()


def small_study(seed: int) -> PhantomStudy:
    return generate_study(seed, 96, 9)


def test_masks_are_empty_behind_collimator_and_shoulder(study):
    frame = study.frames[0, 0]
    outside = frame < 0.01
    assert outside.any()
    assert study.masks[:, :, outside].mean() < 0.01


def test_spread_frames_cover_the_whole_swallow_at_true_machine_times():
    study = generate_study(4, 64, 14)
    step = np.diff(study.frame_times_ms)
    interval = 1000.0 / study.description["frame_rate"]
    np.testing.assert_allclose(step, step[0])
    assert step[0] / interval == pytest.approx(round(step[0] / interval))
    assert study.kinematics.time_s[0] < -0.7
    assert study.kinematics.time_s[-1] > 1.0


def test_consecutive_frames_keep_the_machine_rate():
    study = generate_study(4, 64, 10, sampling="consecutive", frame_rate=25)
    np.testing.assert_allclose(np.diff(study.frame_times_ms), 40.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "size >= 32 and num_frames >= 1, got size=8"),
        ({"num_frames": 0}, "got size=512 and num_frames=0"),
        ({"size": 64, "num_frames": 2, "sampling": "random"}, "'spread' or 'consecutive', got 'random'"),
    ],
)
def test_bad_arguments_are_refused_with_the_remedy(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_study(0, **arguments)
