"""The 12 overlapping masks of one frame, in the order of ``bundle.structures.STRUCTURES``."""

import numpy as np

from bundle.data.phantom.anatomy import Anatomy
from bundle.data.phantom.geometry import Points
from bundle.data.phantom.pose import Pose
from bundle.data.phantom.raster import Canvas
from bundle.data.phantom.spine import vertebral_body
from bundle.structures import STRUCTURES

SMALLEST_PIXELS = 4
"""Fewer pixels than this are not a structure that anyone could label; the mask is left empty."""


def structure_outlines(anatomy: Anatomy, pose: Pose) -> dict[str, list[Points]]:
    """Outlines per structure, in template millimetres."""
    patient, spine = anatomy.patient, anatomy.spine
    return {
        "bolus": [*pose.lumen, *pose.residue, *pose.airway_bolus],
        "hyoid": [pose.hyoid],
        "mandible": list(pose.mandible),
        "tongue": [pose.tongue],
        "pharynx": [pose.pharynx],
        "epiglottis": [pose.epiglottis],
        "laryngeal_vestibule": [] if pose.vestibule is None else [pose.vestibule],
        "trachea": [pose.trachea],
        "upper_oesophageal_sphincter": [pose.ues],
        "c2": [vertebral_body(patient, spine, 2)],
        "c3": [vertebral_body(patient, spine, 3)],
        "c4": [vertebral_body(patient, spine, 4)],
    }


def draw_masks(canvas: Canvas, anatomy: Anatomy, pose: Pose, visible: np.ndarray) -> np.ndarray:
    """Masks ``(12, size, size)`` uint8; nothing is labelled where the collimator hides it.

    Args:
        canvas: Canvas of the frame.
        anatomy: Patient.
        pose: Moving outlines.
        visible: Where the collimated field is open ``(size, size)``, boolean.
    """
    outlines = structure_outlines(anatomy, pose)
    masks = np.stack([canvas.mask(*outlines[name]) for name in STRUCTURES])
    # Bolus in the pharynx is not in the vestibule, whatever the outlines of thin walls say.
    luminal = canvas.mask(*pose.lumen, *pose.residue).astype(bool)
    for name in ("laryngeal_vestibule", "trachea"):
        masks[STRUCTURES.index(name)][luminal] = 0
    masks &= visible.astype(np.uint8)
    masks[masks.sum(axis=(1, 2)) < SMALLEST_PIXELS] = 0
    return masks
