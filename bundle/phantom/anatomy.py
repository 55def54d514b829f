"""Outlines of everything that does not move in a swallow, and of the mandible at rest.

Millimeters in the template's frame, x anterior and y down, for a lateral view facing right.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bundle.phantom.geometry import Points, ellipse, ribbon, rotate, smooth_closed, smooth_open
from bundle.phantom.patient import Patient
from bundle.phantom.spine import Spine, build_spine, vertebral_body

HEAD_PIVOT_MM = (75.5, 87.0)  # Where the template head sits on C2
TEMPLATE_DENS_MM = 14.5  # Patient.dens_mm of the C2 that the template head sits on; a longer one lifts the head
CONDYLE_MM = (107.0, 49.0)  # The jaw turns about the mandibular condyle

# fmt: off
_MANDIBLE = [
    (105, 46), (110, 46), (112, 54), (118, 58), (121, 51), (125, 55), (128, 68), (134, 80), (146, 84),
    (160, 83.5), (172, 82), (178.5, 81), (180, 88), (179.5, 97), (182.5, 106), (183, 114), (179, 118), (172, 116.5),
    (160, 113), (145, 108), (130, 102.5), (116, 99), (107, 95), (102.5, 85), (102, 66),
]
_CRANIUM = [
    (-20, -60), (-14, 10), (-8, 38), (6, 56), (22, 63), (40, 62.5), (54, 57), (66, 55), (78, 62),
    (86, 66), (92, 58), (99, 50), (106, 44), (116, 43), (126, 40), (140, 22), (160, 8), (176, 2),
    (182, -60),
]
_MAXILLA = [
    (124, 44), (136, 49), (152, 50), (170, 48), (184, 43), (181, 52), (185, 60), (187, 66), (178, 68.5),
    (160, 68), (143, 67), (134, 62), (126, 54),
]
_FACE = [
    (186, -60), (184, -12), (185, 2), (192, 16), (201, 33), (202, 39), (192, 45), (193, 52), (198, 60),
    (197, 66), (194, 70), (198, 76), (197, 83), (191, 90), (196, 100), (197, 110), (192, 121), (180, 129),
    (165, 137), (149, 146),
]
# fmt: on
_MANDIBLE_OUTLINE = smooth_closed(_MANDIBLE, 160)


@dataclass(frozen=True)
class Head:
    """Rigid placement of the template head on the spine."""

    patient: Patient
    center: Points

    def place(self, points: ArrayLike) -> Points:
        """Map template points to the patient's head."""
        shifted = np.asarray(points, float) - np.array(HEAD_PIVOT_MM) + self.center
        return rotate(shifted, -self.patient.head_tilt, self.center)


@dataclass(frozen=True)
class Anatomy:
    """A patient's fixed frame."""

    patient: Patient  # What was drawn
    spine: Spine  # Curve of the vertebrae
    head: Head  # Placement of the head
    vertebrae: dict[int, Points]  # Outlines of the bodies of C2-C7; C2 with its dens


def build_anatomy(patient: Patient) -> Anatomy:
    """Place spine and head."""
    spine = build_spine(patient)
    vertebrae = {level: vertebral_body(patient, spine, level) for level in range(2, 8)}
    center = spine.local(2.0, [(0.0, patient.dens_mm - TEMPLATE_DENS_MM)])[0]
    return Anatomy(patient, spine, Head(patient, center), vertebrae)


def mandible_halves(anatomy: Anatomy, jaw_degrees: float) -> tuple[Points, Points]:
    """Outlines of the two projected halves of the mandible; opening turns the chin down and back."""
    outline, shift = _MANDIBLE_OUTLINE, np.array(anatomy.patient.ramus_shift_mm)
    # The halves meet at the chin: the shift fades towards it.
    fade = np.clip((180.0 - outline[:, :1]) / 45.0, 0.0, 1.0)
    near, far = outline + 0.5 * shift * fade, outline - 0.5 * shift * fade
    pivot = anatomy.head.place(np.array([CONDYLE_MM]))[0]
    return rotate(anatomy.head.place(near), jaw_degrees, pivot), rotate(anatomy.head.place(far), jaw_degrees, pivot)


def mandible_border(anatomy: Anatomy) -> list[Points]:
    """Thick cortex along the lower border and the chin, and the denser alveolar process that holds the teeth."""
    border = smooth_open([(104, 92), (116, 97.5), (130, 101), (145, 106.5), (160, 111), (172, 114.5), (179, 115)], 40)
    chin = smooth_open([(178, 84), (177.5, 97), (180, 107), (180.5, 114)], 20)
    alveolus = [(134, 80), (146, 83), (178, 80.5), (179, 92), (160, 97), (143, 92)]
    return [
        anatomy.head.place(ribbon(border, np.interp(np.linspace(0, 1, 40), [0, 0.5, 1], [1.5, 2.6, 2.2]))),
        anatomy.head.place(ribbon(chin, 2.0)),
        anatomy.head.place(smooth_closed(alveolus, 40)),
    ]


def tooth(x: float, y: float, width: float, crown: float, root: float, upward: bool) -> Points:
    """Outline of one tooth in template millimeters; ``y`` is its biting edge, the root points up or down."""
    sign = -1.0 if upward else 1.0
    knots = [(-0.45, 0.0), (-0.5, 0.6 * crown), (-0.36, crown), (-0.12, crown + root), (0.12, crown + root)]
    knots += [(0.36, crown), (0.5, 0.6 * crown), (0.45, 0.0)]
    return np.array([(x + width * u, y + sign * v) for u, v in knots])


def teeth(anatomy: Anatomy, rng: np.random.Generator, upper: bool) -> list[tuple[Points, bool]]:
    """Outlines of one row of teeth at jaw closure, each with whether it carries a metal filling."""
    patient = anatomy.patient
    widths = np.array([9.5, 9.5, 8.5, 7.0, 6.5, 6.0, 5.5, 5.5])
    centers = (183.0 if upper else 179.0) - (np.cumsum(widths[::-1]) - widths[::-1] / 2)[::-1] * 0.86
    fill_probability = min(patient.fillings / 8.0, 0.85) * np.array([1, 1, 1, 0.8, 0.6, 0.3, 0.15, 0.15])
    row = []
    for side in (-0.5, 0.5):
        shift = side * np.array(patient.ramus_shift_mm) * 0.6
        present = rng.random(8) < patient.teeth
        filled = rng.random(8) < fill_probability
        wobble = rng.normal(0, 0.5, (8, 2))
        for index in np.flatnonzero(present):
            x, y = centers[index] + wobble[index, 0] + shift[0], (73.0 if upper else 74.2) + wobble[index, 1] + shift[1]
            outline = tooth(x, y, widths[index], 7.5, 11.0 if upper else 10.0, upward=upper)
            row.append((anatomy.head.place(outline), bool(filled[index])))
    return row


def cranium(anatomy: Anatomy) -> Points:
    """Skull base, occiput and temporal bone as one dense outline; runs out of the frame at the top."""
    return anatomy.head.place(smooth_closed(_CRANIUM, 160))


def maxilla(anatomy: Anatomy) -> Points:
    """Alveolar process of the maxilla."""
    return anatomy.head.place(smooth_closed(_MAXILLA, 80))


def hard_palate(anatomy: Anatomy) -> Points:
    """The thin bright line's opposite: a thin dense plate from the choana to the anterior nasal spine."""
    line = smooth_open([(130, 52), (145, 51.5), (162, 50.5), (180, 46.5)], 30)
    return anatomy.head.place(ribbon(line, np.linspace(1.1, 1.9, 30)))


def skull_details(anatomy: Anatomy) -> list[tuple[Points, float]]:
    """Dense and airy parts of the skull with their relative bone thickness (negative: air)."""
    place = anatomy.head.place

    def line(points: list[tuple[float, float]], half_width: float) -> Points:
        return place(ribbon(smooth_open(points, 24), half_width))

    return [
        (place(ellipse((80, 30), (21, 13), 25)), 1.1),
        (place(ellipse((86, 48), (11, 13), -15)), 0.45),
        (place(ellipse((96, 44), (9, 7), 30)), 0.35),
        (place(ellipse((40, 30), (26, 24))), 0.25),
        (line([(88, 58), (96, 40), (106, 20), (112, 5)], 3.0), 0.45),
        (line([(128, 44), (133, 25), (137, 8), (136, -12)], 1.5), 0.40),
        (line([(132, 44), (140, 30), (147, 6)], 1.1), 0.30),
        (line([(150, 46), (158, 28), (171, 14)], 1.0), 0.28),
        (line([(120, 40), (140, 33), (158, 30), (178, 26)], 0.9), 0.22),
        (line([(100, 34), (120, 26), (142, 20), (165, 16)], 1.8), 0.35),
        (line([(-8, 38), (6, 56), (22, 63), (40, 62.5), (54, 57)], 2.0), 0.7),
        (line([(-14, 20), (2, 47), (20, 56), (40, 56.5), (60, 50)], 1.0), 0.35),
        (line([(20, 44), (45, 49), (66, 42), (84, 40)], 1.2), 0.3),
        (line([(60, 12), (84, 20), (100, 14), (118, 16)], 1.6), 0.35),
        (place(ellipse((150, 31), (15, 13), 10)), -0.55),
        (place(ellipse((170, 25), (8, 12), -10)), -0.35),
        (place(ellipse((139, 8), (12, 9), 20)), -0.30),
        (place(ellipse((76, 52), (5, 6))), -0.30),
        (place(ellipse((64, 40), (4, 3))), -0.25),
    ]


def mouth(anatomy: Anatomy) -> Points:
    """Cheeks and jaws, where the head is wider than the neck."""
    outline = [(104, 46), (140, 44), (184, 44), (192, 70), (186, 116), (160, 112), (128, 102), (104, 92)]
    return anatomy.head.place(smooth_closed(outline, 60))


def body_outline(anatomy: Anatomy) -> Points:
    """Skin line of head and neck; open at the back and below, where it leaves every frame."""
    spine = anatomy.spine
    throat = [spine.point(level, d) for level, d in ((5.2, 62.0), (6.1, 52.0), (7.0, 50.0), (8.0, 55.0), (9.5, 78.0))]
    back_of_neck = ((10.5, -95.0), (8.0, -76.0), (6.0, -62.0), (4.0, -59.0), (2.0, -66.0))
    nape = [spine.point(level, d) for level, d in back_of_neck]
    head = anatomy.head.place(smooth_open(_FACE, 90))
    back = anatomy.head.place([(-24, 30), (-30, -60)])
    front = smooth_open(np.concatenate([head[-3:], np.array(throat)]), 40)[3:]
    low = np.array([[front[-1, 0], 420.0], [-160.0, 420.0]])
    return np.concatenate([head, front, low, np.array(nape), back])


def shoulder_outline(anatomy: Anatomy) -> Points:
    """Upper border of the shoulders and chest, far thicker than the neck."""
    spine, drop = anatomy.spine, anatomy.patient.shoulder_drop_mm / anatomy.patient.pitch_mm
    knots = [(6.0, -110.0), (6.05, -70.0), (6.2, -45.0), (6.6, -20.0), (7.15, 5.0), (7.9, 32.0), (9.0, 56.0)]
    knots += [(11.0, 95.0)]
    upper = smooth_open([spine.point(level + drop, d) for level, d in knots], 60)
    return np.concatenate([upper, [[upper[-1, 0] + 60, 480.0], [-260.0, 480.0], [-260.0, upper[0, 1]]]])


def cervical_plate(anatomy: Anatomy) -> list[Points]:
    """Anterior plate over C5-C6 with two pairs of screws."""
    spine, a = anatomy.spine, anatomy.patient.body_depth_mm / 2
    levels = np.linspace(4.75, 6.3, 16)
    plate = ribbon(spine.point(levels, np.full(16, a + 1.6)), 1.1)
    screws = [ribbon(smooth_open([spine.point(v, a + 1), spine.point(v + 0.05, a - 12)], 6), 1.2) for v in (4.95, 6.05)]
    return [plate, *screws]


def feeding_tube(anatomy: Anatomy) -> Points:
    """Nasogastric tube of 10 Charriere: from the nostril over the palate, then down the posterior pharyngeal wall."""
    nose = anatomy.head.place([(200, 44), (182, 41), (160, 46), (140, 47.5), (124, 49)])
    levels = np.array([0.9, 2.0, 3.0, 4.0, 5.2, 6.0, 8.5])
    wall = np.array([15.0, 14.2, 14.2, 14.6, 16.8, 17.4, 15.6]) + anatomy.patient.prevertebral_mm - 4.6
    return ribbon(smooth_open(np.concatenate([nose, anatomy.spine.point(levels, wall)]), 120), 1.65)
