"""The hard domain: other machines, less dose, hardware and pathology; the standard domain as it was without it."""

from dataclasses import asdict, replace

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from bundle.phantom import PhantomStudy, generate_study
from bundle.phantom.anatomy import build_anatomy, feeding_tube
from bundle.phantom.dataset import GENERATOR_VERSION
from bundle.phantom.layers import draw_still
from bundle.phantom.machine import Machine, draw_machine
from bundle.phantom.patient import Patient, draw_patient
from bundle.phantom.pose import Pose
from bundle.phantom.raster import Canvas
from bundle.phantom.swallow import Swallow, draw_swallow, state_at
from bundle.phantom.truth import structure_outlines
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES

SEEDS = range(30)


@pytest.fixture(scope="module")
def standard() -> list[PhantomStudy]:
    return [generate_study(seed, 64, 3) for seed in SEEDS]


@pytest.fixture(scope="module")
def hard() -> list[PhantomStudy]:
    return [generate_study(seed, 64, 3, domain="hard") for seed in SEEDS]


def findings(studies: list[PhantomStudy], name: str) -> int:
    return sum(study.description[name] for study in studies)


def drawn(studies: list[PhantomStudy], part: str, name: str) -> np.ndarray:
    return np.array([study.description[part][name] for study in studies])


def test_a_standard_study_is_what_the_standard_draws_say(standard):
    for study in standard:
        draws = [np.random.default_rng([study.seed, stream]) for stream in range(3)]
        assert study.description["domain"] == "standard"
        assert study.description["patient"] == asdict(draw_patient(draws[0]))
        assert study.description["swallow"] == asdict(draw_swallow(draws[1]))
        assert study.description["machine"] == asdict(draw_machine(draws[2]))


def test_standard_studies_are_those_of_generator_version_4():
    """Their data sets are used again by version. Tolerant of other processors' rounding."""
    assert GENERATOR_VERSION == 4
    study = generate_study(7, 96, 5)
    areas = study.masks.sum(axis=(0, 2, 3))
    assert study.frames.mean() == pytest.approx(0.388090, abs=2e-5)
    assert study.frames.std() == pytest.approx(0.372380, abs=2e-5)
    np.testing.assert_allclose(areas, [263, 71, 2941, 3483, 1410, 93, 119, 878, 96, 421, 196, 192], atol=3)
    assert not study.description["patient"]["has_tube"]


def test_the_same_seed_gives_the_same_hard_study(hard):
    again = generate_study(4, 64, 3, domain="hard")
    np.testing.assert_array_equal(again.stored, hard[4].stored)
    np.testing.assert_array_equal(again.masks, hard[4].masks)
    assert again.description == hard[4].description


def test_hardware_and_findings_are_more_frequent(standard, hard):
    for name in ("hardware", "penetration", "aspiration", "delayed_trigger", "reduced_hyoid_excursion"):
        assert findings(hard, name) > findings(standard, name) + 5, name
    assert findings(hard, "fillings") > 1.5 * findings(standard, "fillings")
    assert 5 < drawn(hard, "patient", "has_tube").sum() < 25


def test_machines_are_ones_that_the_standard_domain_never_draws(standard, hard):
    for name, is_larger in (("photons", False), ("blur_mm", True), ("lag", True), ("scatter", True), ("glare", True)):
        usual, shifted = drawn(standard, "machine", name), drawn(hard, "machine", name)
        assert (shifted.min() > usual.max()) if is_larger else (shifted.max() < usual.min()), name
    for name in ("field_mm", "gamma"):
        usual, shifted = drawn(standard, "machine", name), drawn(hard, "machine", name)
        assert ((shifted < usual.min()) | (shifted > usual.max())).all(), name
        assert shifted.min() < usual.min() < usual.max() < shifted.max(), name


def test_truth_shows_more_residue_and_a_hyoid_that_moves_less(standard, hard):
    def residue(studies: list[PhantomStudy]) -> float:
        return float(np.mean([study.kinematics.residue_area_mm2[-1] for study in studies]))

    def excursion(studies: list[PhantomStudy]) -> float:
        ways = [study.kinematics.hyoid_mm - study.kinematics.hyoid_mm[0] for study in studies]
        return float(np.mean([np.linalg.norm(way, axis=1).max() for way in ways]))

    assert residue(hard) > 2 * residue(standard) > 0
    assert 0 < excursion(hard) < 0.7 * excursion(standard)


def test_pictures_are_noisier():
    """Noise: what differs between two exposures of frames between which nothing moves, in the lit part."""

    def noise(seed: int, domain: str) -> float:
        study = generate_study(seed, 256, 2, sampling="consecutive", frame_rate=1000.0, domain=domain)
        lit = (study.frames.min(axis=(0, 1)) > 0.2) & (study.frames.max(axis=(0, 1)) < 0.7)
        change = study.frames[1, 0] - study.frames[0, 0]
        return float(np.std((change - ndimage.gaussian_filter(change, 3.0))[lit]))

    for seed in range(4):
        assert noise(seed, "hard") > 1.5 * noise(seed, "standard"), seed


def test_every_structure_is_seen_in_nearly_all_studies_and_masks_agree_with_the_truth(hard):
    seen = np.array([study.masks.any(axis=(0, 2, 3)) for study in hard])
    assert (seen.mean(axis=0) > 0.8).all(), dict(zip(STRUCTURES, seen.mean(axis=0), strict=True))
    for study in hard:
        rows, columns = np.nonzero(study.masks[0, STRUCTURES.index("c3")])
        middle = (study.kinematics.c2_px[0] + study.kinematics.c4_px[0]) / 2
        assert (
            np.hypot(columns - middle[0], rows - middle[1]).min() < 64 * 10 / study.description["machine"]["field_mm"]
        )


def test_the_tube_runs_through_pharynx_and_sphincter_and_is_seen(hard):
    study = next(study for study in hard if study.description["patient"]["has_tube"])
    patient, swallow = Patient(**study.description["patient"]), Swallow(**study.description["swallow"])
    anatomy = build_anatomy(patient)
    canvas = Canvas(256, np.eye(2), np.zeros(2))
    outlines = structure_outlines(anatomy, Pose(anatomy, swallow, state_at(swallow, -60.0)))
    tube = canvas.mask(feeding_tube(anatomy)).astype(bool)
    for name in ("pharynx", "upper_oesophageal_sphincter"):
        structure = canvas.mask(*outlines[name]).astype(bool)
        assert (structure & tube).any(axis=1).sum() > 0.6 * structure.any(axis=1).sum(), name
    vertebrae = canvas.mask(*(anatomy.vertebrae[level] for level in (3, 4))).astype(bool)
    assert not (vertebrae & tube).any()
    without = build_anatomy(replace(patient, has_tube=False))
    machine = Machine(**study.description["machine"])
    bodies = [draw_still(canvas, one, machine, np.random.default_rng(0)).body for one in (without, anatomy)]
    assert (bodies[1] - bodies[0])[tube].mean() > 0.5


def test_a_hard_study_has_other_dicom_uids_than_the_standard_study_of_its_seed(standard, hard, tmp_path):
    uids = set()
    for name, study in (("standard", standard[0]), ("hard", hard[0])):
        write_dicom(study, tmp_path / name, "p000")
        uids.add(pydicom.dcmread(tmp_path / name).SOPInstanceUID)
    assert len(uids) == 2


def test_an_unknown_domain_is_refused():
    with pytest.raises(ValueError, match="domain must be 'standard' or 'hard', got 'easy'"):
        generate_study(0, 64, 2, domain="easy")
