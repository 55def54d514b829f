"""How patients differ: size, posture, age, teeth, tissue, findings. Numbers are drawn here and applied elsewhere."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Patient:
    """One synthetic person; lengths in millimeters, angles in degrees."""

    scale: float  # Body size relative to the template
    pitch_mm: float  # Distance between the centers of neighboring vertebrae
    lean: float  # Lean of the cervical spine away from the vertical, backwards at the bottom
    lordosis: float  # Change of direction per vertebra
    head_tilt: float  # Extension (positive) of the head against C2
    body_depth_mm: float  # Antero-posterior depth of a vertebral body
    body_height_share: float  # Height of a vertebral body as a share of the pitch
    osteophytes: float  # 0 none ... 1 marked, at the anterior rims of C4-C6
    prevertebral_mm: float  # Thickness of the prevertebral soft tissue at C3
    shoulder_drop_mm: float  # How much lower than usual the shoulder ends
    neck_thickness_mm: float  # Tissue in the ray's path through the middle of the neck
    bone_density: float  # Relative attenuation of bone
    teeth: float  # Share of teeth present
    fillings: int  # Number of metal fillings
    ramus_shift_mm: tuple[float, float]  # Shift (2,) between the two projected halves of the mandible
    hyoid_level: float  # Level of the resting hyoid in vertebrae (3 = C3)
    hyoid_distance_mm: float  # Distance of the resting hyoid in front of the spine's center line
    pharynx_width: float  # Relative width of the resting pharynx
    larynx_level_shift: float  # Descent of the larynx in vertebrae (grows with age)
    larynx_calcification: float  # 0 none ... 1 marked
    has_plate: bool  # Whether an anterior cervical plate was implanted
    texture_seed: int  # Seed of the tissue texture
    dens_mm: float  # How far C2 with its dens reaches above the height of another vertebral body
    skin_depth_mm: float  # Depth below the skin line at which the neck is as thick as in its middle
    head_thickness_mm: float  # Tissue in the ray's path through the skull base
    face_thickness_mm: float  # Tissue that mouth and jaws add to that of the neck
    velum_thickness_mm: float  # Tissue in the ray's path through the soft palate
    crowns: float  # Share of the fillings that are whole metal crowns
    glottis_drop: float  # How much lower than usual the vocal folds are in the larynx, in vertebrae
    glottis_air: float  # 0 the folds interrupt the column of air ... 1 they do not show
    has_tube: bool = False  # Whether a nasogastric feeding tube lies in the pharynx


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw one patient; old age goes with lost teeth, osteophytes, thin bone and a low larynx."""
    age = rng.beta(2.0, 1.5)  # 0 young ... 1 old
    size = float(np.clip(rng.normal(1.0, 0.055), 0.87, 1.14))
    edentulous = rng.random() < 0.25 * age
    return Patient(
        scale=size,
        pitch_mm=18.6 + rng.normal(0, 0.5) - 0.8 * age,
        lean=rng.normal(13.0, 5.0),
        lordosis=rng.normal(1.6, 1.8),
        head_tilt=rng.normal(0.0, 4.5),
        body_depth_mm=rng.normal(16.0, 0.9),
        body_height_share=rng.uniform(0.75, 0.83) - 0.04 * age,
        osteophytes=float(max(0.0, age - 0.5) * 2 * rng.random()),
        prevertebral_mm=float(np.clip(rng.normal(4.6, 0.9), 3.0, 7.5)),
        shoulder_drop_mm=rng.uniform(-16.0, 20.0),
        neck_thickness_mm=rng.normal(112.0, 9.0),
        bone_density=rng.normal(1.05, 0.12) - 0.25 * age,
        teeth=0.0 if edentulous else float(np.clip(1.1 - 0.6 * age * rng.random(), 0.3, 1.0)),
        fillings=0 if edentulous else int(rng.integers(0, 9)),
        ramus_shift_mm=(rng.normal(0, 4.0), rng.normal(0, 2.0)),
        hyoid_level=rng.normal(3.55, 0.18) + 0.25 * age,
        hyoid_distance_mm=rng.normal(47.0, 2.2),
        pharynx_width=float(np.clip(rng.normal(1.0, 0.14) + 0.15 * age, 0.75, 1.4)),
        larynx_level_shift=rng.normal(0.0, 0.13) + 0.35 * age,
        larynx_calcification=float(age * rng.random()),
        has_plate=bool(rng.random() < 0.08),
        texture_seed=int(rng.integers(2**31)),
        dens_mm=rng.uniform(16.0, 25.0),
        skin_depth_mm=rng.uniform(45.0, 65.0),
        head_thickness_mm=rng.uniform(160.0, 215.0),
        face_thickness_mm=rng.uniform(0.0, 45.0),
        velum_thickness_mm=rng.uniform(16.0, 34.0),
        crowns=rng.uniform(0.0, 0.6),
        glottis_drop=rng.uniform(0.0, 0.4),
        glottis_air=rng.uniform(0.0, 1.0),
    )
