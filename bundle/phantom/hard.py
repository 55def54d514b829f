"""The hard domain: what the standard draws give never or rarely - another machine, less dose, hardware, more pathology.

Everything is drawn as in the standard domain first; here some of it is drawn anew. docs/concepts/phantom.md has the
table of both.
"""

from dataclasses import replace

import numpy as np

from bundle.phantom.machine import Machine
from bundle.phantom.patient import Patient
from bundle.phantom.swallow import Swallow


def shift_patient(patient: Patient, rng: np.random.Generator) -> Patient:
    """Give a patient hardware, a thick and short neck, kyphosis and a worn spine."""
    return replace(
        patient,
        lordosis=rng.uniform(-4.0, -2.0),
        osteophytes=rng.uniform(1.0, 1.6),
        prevertebral_mm=rng.uniform(6.5, 9.0),
        shoulder_drop_mm=rng.uniform(-26.0, -16.0),
        neck_thickness_mm=rng.uniform(118.0, 130.0),
        fillings=int(rng.integers(8, 13)) if patient.teeth else 0,
        larynx_calcification=rng.uniform(0.6, 1.0),
        has_plate=bool(rng.random() < 0.6),
        has_tube=bool(rng.random() < 0.5),
    )


def shift_swallow(swallow: Swallow, rng: np.random.Generator) -> Swallow:
    """Make a swallow late, weak and unsafe, of contrast that is hard to see."""
    penetration = bool(rng.random() < 0.8)
    return replace(
        swallow,
        oral_delay_s=rng.uniform(0.3, 1.0),
        hyoid_anterior_mm=rng.uniform(4.0, 7.0),
        hyoid_superior_mm=rng.uniform(4.0, 8.0),
        larynx_lift_mm=rng.uniform(8.0, 13.0),
        epiglottis_inversion=rng.uniform(0.3, 0.6),
        vestibule_closure=rng.uniform(0.4, 0.6) if penetration else 1.0,
        constriction=rng.uniform(0.35, 0.6),
        ues_opening_mm=rng.uniform(3.5, 6.0),
        contrast_per_mm=rng.uniform(0.05, 0.075),
        vallecular_residue=rng.uniform(0.5, 1.0),
        pyriform_residue=rng.uniform(0.5, 1.0),
        penetration=penetration,
        aspiration=penetration and bool(rng.random() < 0.6),
    )


def shift_machine(machine: Machine, rng: np.random.Generator) -> Machine:
    """Exchange a machine for one with less dose, a smaller or larger field, tighter collimation and another curve."""
    is_zoomed, is_dark = rng.random(2) < 0.5
    left, top, right, bottom = rng.uniform((64.0, 72.0, 66.0, 68.0), (84.0, 92.0, 90.0, 84.0))
    return replace(
        machine,
        field_mm=rng.uniform(150.0, 185.0) if is_zoomed else rng.uniform(260.0, 285.0),
        gamma=rng.uniform(1.25, 1.5) if is_dark else rng.uniform(0.6, 0.72),
        photons=float(np.exp(rng.uniform(np.log(8.0), np.log(30.0)))),
        blur_mm=rng.uniform(0.34, 0.5),
        lag=rng.uniform(0.3, 0.5),
        scatter=rng.uniform(0.5, 0.6),
        glare=rng.uniform(0.1, 0.13),
        shutter_mm=(-left, -top, right, bottom),
        rotation=float(rng.choice([-1.0, 1.0]) * rng.uniform(7.0, 13.0)),
        sway_mm=rng.uniform(1.5, 3.0),
    )
