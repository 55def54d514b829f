"""Rules of anatomy: drawn anatomy obeys them, a displaced structure breaks its own, what is missing is not asked."""

import numpy as np
import pytest

from bundle.metrics.plausibility import RULES, FrameMasks, plausibility
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES

# Rows and columns of boxes, in a frame of 100 x 100, of a patient who looks to the right.
DRAWN = {
    "c2": (20, 34, 20, 30),
    "c3": (38, 48, 19, 29),
    "c4": (52, 62, 18, 28),
    "mandible": (20, 44, 50, 90),
    "tongue": (22, 46, 48, 80),
    "hyoid": (48, 53, 60, 66),
    "pharynx": (24, 58, 36, 42),
    "epiglottis": (44, 54, 42, 45),
    "laryngeal_vestibule": (54, 64, 43, 49),
    "trachea": (66, 95, 44, 52),
    "upper_oesophageal_sphincter": (60, 72, 35, 40),
    "bolus": (30, 40, 38, 44),
}


def frame_of(**changed: tuple[int, int, int, int] | None) -> np.ndarray:
    """Masks ``(1, S, 100, 100)``; None leaves a structure out."""
    masks = np.zeros((1, len(STRUCTURES), 100, 100), bool)
    for name, box in (DRAWN | changed).items():
        if box is not None:
            top, bottom, left, right = box
            masks[0, STRUCTURES.index(name), top:bottom, left:right] = True
    return masks


def failed(masks: np.ndarray, faces_right: bool = True) -> list[str]:
    return [name for name, (answer,) in plausibility(masks, STRUCTURES, faces_right).items() if answer == 0]


def test_drawn_anatomy_obeys_every_rule():
    answers = plausibility(frame_of(), STRUCTURES)
    assert len(answers) == len(RULES)
    assert {name for name, (answer,) in answers.items() if answer != 1} == set()


def test_its_mirror_image_obeys_them_only_if_the_patient_is_said_to_look_to_the_left():
    mirrored = frame_of()[..., ::-1]
    assert failed(mirrored, faces_right=False) == []
    assert "hyoid in front of the spine" in failed(mirrored)


@pytest.mark.parametrize(
    ("structure", "box", "broken"),
    [
        ("c2", (70, 84, 18, 28), "C2 above C3 above C4"),
        ("c3", (44, 54, 19, 29), "C2, C3 and C4 evenly spaced"),
        ("c3", (38, 48, 35, 45), "C3 in line with C2 and C4"),
        ("c3", (40, 45, 19, 24), "C3 and C4 of like size"),
        ("c3", (40, 45, 19, 24), "C3 as large as its distance allows"),
        ("c3", (46, 56, 18, 28), "vertebrae apart"),
        ("mandible", (20, 44, 2, 12), "mandible in front of the spine"),
        ("hyoid", (48, 53, 5, 10), "hyoid in front of the spine"),
        ("hyoid", (48, 53, 30, 34), "hyoid in front of the pharynx"),
        ("hyoid", (24, 29, 60, 66), "hyoid below the mandible's middle"),
        ("hyoid", (96, 99, 60, 66), "hyoid below C2 and less than a unit below C4"),
        ("hyoid", (48, 60, 60, 72), "hyoid no larger than C3"),
        ("tongue", (22, 46, 30, 40), "tongue in front of the pharynx"),
        ("tongue", (60, 70, 48, 80), "tongue above the hyoid"),
        ("tongue", (5, 46, 48, 80), "tongue no higher than the mandible"),
        ("pharynx", (24, 58, 2, 8), "pharynx in front of the spine"),
        ("epiglottis", (44, 54, 80, 83), "epiglottis at the pharynx or airway"),
        ("epiglottis", (94, 99, 42, 45), "epiglottis above the trachea"),
        ("laryngeal_vestibule", (90, 99, 43, 49), "vestibule above the trachea"),
        ("trachea", (40, 95, 44, 52), "trachea's top below the hyoid's middle"),
        ("trachea", (50, 95, 44, 52), "trachea's top below C4's middle"),
        ("upper_oesophageal_sphincter", (60, 72, 60, 65), "sphincter behind the trachea"),
        ("upper_oesophageal_sphincter", (60, 72, 5, 10), "sphincter in front of the spine"),
        ("upper_oesophageal_sphincter", (10, 20, 35, 40), "sphincter below the pharynx"),
        ("bolus", (2, 12, 5, 15), "contrast in or at the passage"),
    ],
)
def test_a_structure_in_the_wrong_place_breaks_its_rule(structure, box, broken):
    assert broken in failed(frame_of(**{structure: box}))


def test_a_rule_about_a_missing_structure_is_not_asked():
    answers = plausibility(frame_of(hyoid=None), STRUCTURES)
    asked_of_hyoid = {rule.name for rule in RULES if "hyoid" in rule.needs}
    assert {name for name, (answer,) in answers.items() if np.isnan(answer)} == asked_of_hyoid
    assert len(asked_of_hyoid) == 7


def test_contrast_below_the_sphincter_is_in_the_oesophagus_and_not_asked():
    assert failed(frame_of(bolus=(80, 90, 20, 30))) == []


def test_forward_is_measured_across_the_spine_also_of_a_spine_that_leans():
    upright, leaning = FrameMasks(frame_of()[0], STRUCTURES), FrameMasks(frame_of(c2=(20, 34, 40, 50))[0], STRUCTURES)
    assert upright.forward("c2") == pytest.approx(0.0, abs=1e-9)
    assert leaning.forward("c2") == pytest.approx(0.0, abs=1e-9)
    assert leaning.forward("hyoid") < upright.forward("hyoid")


@pytest.mark.parametrize("domain", ["standard", "hard"])
def test_the_phantoms_true_masks_obey_the_rules_throughout_a_swallow(domain):
    study = generate_study(7, size=160, num_frames=6, domain=domain)
    answers = plausibility(study.masks.astype(bool), STRUCTURES)
    assert {name for name, values in answers.items() if (values == 0).any()} == set()
