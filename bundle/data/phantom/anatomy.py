"""Outlines of everything that does not move in a swallow, and of the mandible at rest.

Millimetres in the template's frame, x anterior and y down, for a lateral view facing right.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bundle.data.phantom.geometry import Points, ellipse, ribbon, rotate, smooth_closed, smooth_open
from bundle.data.phantom.patient import Patient
from bundle.data.phantom.spine import Spine, build_spine

HEAD_PIVOT_MM = (75.5, 87.0)
"""Where the template head sits on C2."""

CONDYLE_MM = (107.0, 49.0)
"""The jaw turns about the mandibular condyle."""

_MANDIBLE = (
    [(105, 46), (110, 46), (112, 54), (118, 58), (121, 51), (125, 55), (128, 68), (134, 80), (146, 84), (160, 83.5)]
    + [(172, 82), (178.5, 81), (180, 88), (179.5, 97), (182.5, 106), (183, 114), (179, 118), (172, 116.5), (160, 113)]
    + [(145, 108), (130, 102.5), (116, 99), (107, 95), (102.5, 85), (102, 66)]
)
_CRANIUM = (
    [(-20, -60), (-14, 10), (-8, 38), (6, 56), (22, 63), (40, 62.5), (54, 57), (66, 55), (78, 62), (86, 66), (92, 58)]
    + [(99, 50), (106, 44), (116, 43), (126, 40), (140, 22), (160, 8), (176, 2), (182, -60)]
)
_MAXILLA = (
    [(124, 44), (136, 49), (152, 50), (170, 48), (184, 43), (181, 52), (185, 60), (187, 66), (178, 68.5), (160, 68)]
    + [(143, 67), (134, 62), (126, 54)]
)
_FACE = (
    [(186, -60), (184, -12), (185, 2), (192, 16), (201, 33), (202, 39), (192, 45), (193, 52), (198, 60), (197, 66)]
    + [(194, 70), (198, 76), (197, 83), (191, 90), (196, 100), (197, 110), (192, 121), (180, 129), (165, 137)]
    + [(149, 146)]
)


@dataclass(frozen=True)
class Head:
    """Rigid placement of the template head on the spine."""

    patient: Patient
    centre: Points

    def place(self, points: ArrayLike) -> Points:
        """Map template points to the patient's head."""
        shifted = np.asarray(points, float) - np.array(HEAD_PIVOT_MM) + self.centre
        return rotate(shifted, -self.patient.head_tilt, self.centre)


@dataclass(frozen=True)
class Anatomy:
    """A patient's fixed frame: spine, head, and the template distances that depend on them."""

    patient: Patient
    spine: Spine
    head: Head


def build_anatomy(patient: Patient) -> Anatomy:
    """Place spine and head."""
    spine = build_spine(patient)
    return Anatomy(patient, spine, Head(patient, spine.point(2.0, 0.0)))


def mandible_halves(anatomy: Anatomy, jaw_degrees: float) -> tuple[Points, Points]:
    """Outlines of the two projected halves of the mandible; opening turns the chin down and back."""
    outline = smooth_closed(_MANDIBLE, 160)
    shift = np.array(anatomy.patient.ramus_shift_mm)
    # The halves meet at the chin: the shift fades towards it.
    fade = np.clip((180.0 - outline[:, :1]) / 45.0, 0.0, 1.0)
    near, far = outline + 0.5 * shift * fade, outline - 0.5 * shift * fade
    pivot = anatomy.head.place(np.array([CONDYLE_MM]))[0]
    return (
        rotate(anatomy.head.place(near), jaw_degrees, pivot),
        rotate(anatomy.head.place(far), jaw_degrees, pivot),
    )


def tooth(x: float, y: float, width: float, crown: float, root: float, upward: bool) -> Points:
    """Outline of one tooth in template millimetres; ``y`` is its biting edge, the root points up or down."""
    sign = -1.0 if upward else 1.0
    knots = [(-0.45, 0.0), (-0.5, 0.6 * crown), (-0.36, crown), (-0.12, crown + root), (0.12, crown + root)]
    knots += [(0.36, crown), (0.5, 0.6 * crown), (0.45, 0.0)]
    return np.array([(x + width * u, y + sign * v) for u, v in knots])


def teeth(anatomy: Anatomy, rng: np.random.Generator, upper: bool) -> list[tuple[Points, bool]]:
    """Outlines of one row of teeth at jaw closure, each with whether it carries a metal filling."""
    patient = anatomy.patient
    centres = np.linspace(142.0, 183.0 if upper else 179.0, 8)
    widths = np.array([9.5, 9.5, 9.0, 6.5, 6.0, 5.5, 5.0, 5.0])
    fill_probability = min(patient.fillings / 10.0, 0.8) * np.array([1, 1, 1, 0.8, 0.6, 0.3, 0.15, 0.15])
    present = rng.random(8) < patient.teeth
    filled = rng.random(8) < fill_probability
    row = []
    for x, width, is_present, is_filled in zip(centres, widths, present, filled, strict=True):
        if is_present:
            outline = tooth(x, 73.2 if upper else 73.8, width, 7.0, 9.0 if upper else 8.0, upward=upper)
            row.append((anatomy.head.place(outline), bool(is_filled)))
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
    clivus = smooth_open([(88, 58), (96, 40), (106, 20), (112, 5)], 20)
    orbit = smooth_open([(128, 40), (134, 25), (137, 8), (136, -12)], 20)
    floor = smooth_open([(100, 34), (120, 26), (142, 20), (165, 16)], 20)
    occiput = smooth_open([(-8, 38), (6, 56), (22, 63), (40, 62.5), (54, 57)], 30)
    return [
        (place(ellipse((82, 32), (20, 12), 25)), 0.8),
        (place(ellipse((86, 48), (11, 13), -15)), 0.35),
        (place(ribbon(clivus, 3.0)), 0.4),
        (place(ribbon(orbit, 1.4)), 0.35),
        (place(ribbon(floor, 1.6)), 0.3),
        (place(ribbon(occiput, 2.2)), 0.5),
        (place(ribbon(smooth_open([(132, 46), (140, 30), (146, 6)], 16), 1.0)), 0.25),
        (place(ribbon(smooth_open([(150, 44), (156, 28), (170, 14)], 16), 0.9)), 0.2),
        (place(ellipse((152, 32), (15, 13), 10)), -0.75),
        (place(ellipse((170, 25), (8, 12), -10)), -0.5),
        (place(ellipse((139, 8), (12, 9), 20)), -0.4),
        (place(ellipse((76, 52), (5, 6))), -0.25),
    ]


def body_outline(anatomy: Anatomy) -> Points:
    """Skin line of head and neck; open at the back and below, where it leaves every frame."""
    spine = anatomy.spine
    throat = [spine.point(level, d) for level, d in ((5.2, 62.0), (6.1, 52.0), (7.0, 50.0), (8.0, 55.0), (9.5, 78.0))]
    nape = [spine.point(level, d) for level, d in ((10.5, -95.0), (8.0, -80.0), (6.0, -68.0), (4.0, -66.0), (2.0, -72.0))]
    head = anatomy.head.place(smooth_open(_FACE, 90))
    back = anatomy.head.place([(-24, 30), (-30, -60)])
    front = smooth_open(np.concatenate([head[-3:], np.array(throat)]), 40)[3:]
    low = np.array([[front[-1, 0], 420.0], [-160.0, 420.0]])
    return np.concatenate([head, front, low, np.array(nape), back])


def shoulder_outline(anatomy: Anatomy) -> Points:
    """Upper border of the shoulders and chest, far thicker than the neck."""
    spine, drop = anatomy.spine, anatomy.patient.shoulder_drop_mm / anatomy.patient.pitch_mm
    knots = [(6.0, -110.0), (6.05, -70.0), (6.2, -45.0), (6.6, -20.0), (7.15, 5.0), (7.9, 32.0), (9.0, 56.0), (11.0, 95.0)]
    upper = smooth_open([spine.point(level + drop, d) for level, d in knots], 60)
    return np.concatenate([upper, [[upper[-1, 0] + 60, 480.0], [-260.0, 480.0], [-260.0, upper[0, 1]]]])


def cervical_plate(anatomy: Anatomy) -> list[Points]:
    """Anterior plate over C5-C6 with two pairs of screws."""
    spine, a = anatomy.spine, anatomy.patient.body_depth_mm / 2
    levels = np.linspace(4.75, 6.3, 16)
    plate = ribbon(spine.point(levels, np.full(16, a + 1.6)), 1.1)
    screws = [ribbon(smooth_open([spine.point(v, a + 1), spine.point(v + 0.05, a - 12)], 6), 1.2) for v in (4.95, 6.05)]
    return [plate, *screws]
