"""The cervical spine: a curve through vertebral levels that all neighboring soft tissue is measured from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bundle.phantom.geometry import Points, rounded, smooth_closed
from bundle.phantom.patient import Patient

C4_CENTER_MM = (64.0, 128.0)  # Where the template's frame of reference puts the center of C4


@dataclass(frozen=True)
class Spine:
    """Center line of the vertebrae; level 4.0 is the center of C4, 4.5 the disc below it."""

    levels: np.ndarray  # Grid of levels (N,)
    centers: Points  # Center line (N, 2)
    angles: np.ndarray  # Direction of the spine against the vertical (N,), radians
    pitch_mm: float  # Distance between two levels

    def point(self, level: ArrayLike, anterior_mm: ArrayLike) -> Points:
        """Points at given levels and distances in front of the center line, ``(N, 2)``."""
        level = np.asarray(level, float)
        x = np.interp(level, self.levels, self.centers[:, 0])
        y = np.interp(level, self.levels, self.centers[:, 1])
        return np.stack([x, y], axis=-1) + np.asarray(anterior_mm, float)[..., None] * self.anterior(level)

    def anterior(self, level: ArrayLike) -> Points:
        """Unit vectors that point forward, across the spine, ``(N, 2)``."""
        angle = np.interp(np.asarray(level, float), self.levels, self.angles)
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)

    def local(self, level: float, points: ArrayLike) -> Points:
        """Points given as (forward, up) from the center of a vertebra."""
        forward = self.anterior(level)
        up = np.array([forward[1], -forward[0]])
        points = np.asarray(points, float)
        return self.point(level, 0.0) + points[:, :1] * forward + points[:, 1:] * up


def build_spine(patient: Patient) -> Spine:
    """Integrate the spine's direction up and down from C4."""
    levels = np.linspace(-1.0, 11.0, 241)
    angles = np.deg2rad(patient.lean + patient.lordosis * (levels - 4.0))
    step = (levels[1] - levels[0]) * patient.pitch_mm
    down = np.stack([-np.sin(angles), np.cos(angles)], axis=1) * step
    centers = np.cumsum(down, axis=0)
    centers += np.array(C4_CENTER_MM) - centers[np.argmin(abs(levels - 4.0))]
    return Spine(levels, centers, angles, patient.pitch_mm)


def body_corners(patient: Patient, level: int) -> Points:
    """Outline knots of a vertebral body as (forward, up), the anterior-inferior corner at index 4."""
    a, b = patient.body_depth_mm / 2, patient.body_height_share * patient.pitch_mm / 2
    lip = patient.osteophytes * (2.0 if level in (4, 5, 6) else 0.8)
    return np.array(
        [
            (-a, b),
            (0.0, b - 0.7),
            (0.95 * a + 0.5 * lip, 0.90 * b),
            (0.90 * a, -0.05 * b),
            (1.04 * a + lip, -1.10 * b),
            (0.0, -b + 0.6),
            (-0.98 * a, -0.98 * b),
            (-0.95 * a, 0.0),
        ]
    )


def vertebral_body(patient: Patient, spine: Spine, level: int) -> Points:
    """Outline of a body, C3-C7; of C2 with its dens."""
    corners = body_corners(patient, level)
    if level == 2:
        a, b = patient.body_depth_mm / 2, patient.body_height_share * patient.pitch_mm / 2
        # C2's body is higher than the others', too: about half of what it exceeds them by is dens.
        shoulder, top = b + 0.5 * (patient.dens_mm - 12.0), b + patient.dens_mm
        dens = [(-0.55 * a, shoulder + 2), (-0.5 * a, top - 3), (-0.1 * a, top), (0.35 * a, top - 3)]
        dens += [(0.45 * a, shoulder + 2), (0.9 * a, shoulder - 2)]
        corners = np.concatenate([[(-a, shoulder)], dens, corners[3:]])
    return spine.local(float(level), rounded(corners, 0.22))


def anterior_inferior_corner(patient: Patient, spine: Spine, level: int) -> Points:
    """The corner that clinical measures are taken from, ``(2,)``."""
    return spine.local(float(level), body_corners(patient, level)[4:5])[0]


def posterior_elements(patient: Patient, spine: Spine, level: int) -> list[tuple[Points, float]]:
    """Articular pillar, lamina and spinous process of C2-C7 with their relative bone thickness."""
    b = patient.body_height_share * patient.pitch_mm / 2
    length = {2: 40.0, 3: 33.0, 4: 33.0, 5: 36.0, 6: 42.0, 7: 48.0}[level]
    pillar = [(-7, 0.8 * b), (-13, 1.15 * b), (-20, 0.5 * b), (-23, -0.7 * b), (-15, -1.15 * b), (-8, -0.6 * b)]
    process = [(-19, 0.4 * b), (-28, 0.2 * b), (-length, -0.5 * b), (-length - 1.5, -1.25 * b), (-length + 4, -1.3 * b)]
    process += [(-29, -0.75 * b), (-21, -0.6 * b)]
    facet = [(-10, 1.2 * b), (-21, 0.35 * b), (-21.5, 0.05 * b), (-10, 0.95 * b)]
    return [
        (spine.local(float(level), smooth_closed(pillar, 48)), 0.55),
        (spine.local(float(level), smooth_closed(process, 48)), 0.45),
        (spine.local(float(level), facet), 0.25),
    ]
