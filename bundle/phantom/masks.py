"""The 12 overlapping masks of one frame, in the order of ``bundle.structures.STRUCTURES``."""

import numpy as np

from bundle.phantom.anatomy import Anatomy
from bundle.phantom.geometry import Points
from bundle.phantom.pose import Pose
from bundle.phantom.raster import Canvas
from bundle.structures import STRUCTURES

SMALLEST_PIXELS = 4
"""Fewer pixels than this are not a structure that anyone could label; the mask is left empty."""


def structure_outlines(anatomy: Anatomy, pose: Pose) -> dict[str, list[Points]]:
    """Outlines per structure, in template millimetres."""
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
        "c2": [anatomy.vertebrae[2]],
        "c3": [anatomy.vertebrae[3]],
        "c4": [anatomy.vertebrae[4]],
    }


def draw_masks(canvas: Canvas, anatomy: Anatomy, pose: Pose) -> np.ndarray:
    """Masks ``(12, size, size)`` uint8 of everything in the frame, behind collimator and shoulder too."""
    outlines = structure_outlines(anatomy, pose)
    masks = np.stack([canvas.mask(*outlines[name]) for name in STRUCTURES])
    if pose.lumen or pose.residue:
        # Bolus in the pharynx is not in the vestibule, whatever the outlines of thin walls say.
        outside = 1 - canvas.mask(*pose.lumen, *pose.residue)
        for name in ("laryngeal_vestibule", "trachea"):
            masks[STRUCTURES.index(name)] *= outside
    return masks


def visible_masks(masks: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Masks of what can be labelled: inside the collimated field, not behind the shoulder, more than a speck.

    Args:
        masks: ``(12, size, size)``.
        visible: Where something can be seen ``(size, size)``, boolean.
    """
    seen = masks * visible.astype(np.uint8)
    seen[seen.sum(axis=(1, 2)) < SMALLEST_PIXELS] = 0
    return seen
