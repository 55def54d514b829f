"""What of a structure may lie behind a shutter, a collimator or the frame's edge, where no mask can tell of it."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import binary_erosion, binary_fill_holes, label

from bundle.metrics.kinematics.clip_masks import ClipMasks

# Structures whose areas and places are wrong where a part is hidden.
CUT = ("hyoid", "pharynx", "upper_oesophageal_sphincter", "c2", "c4")
TOUCHING_PIXELS = 3  # fewer pixels on the edge are a touch and no cut
DARK = 0.04  # display value that a pixel which is never lit does not exceed


def visible_field(frames: ArrayLike) -> np.ndarray:
    """Find the part of the film that is ever lit.

    It is the largest patch of pixels that are not black throughout, with the holes that metal and contrast leave in it.

    Args:
        frames: Display values ``(T, 1, H, W)`` in [0, 1].

    Returns:
        Bool ``(H, W)``; all true where nothing is lit.
    """
    clip = np.asarray(frames)
    if clip.ndim != 4 or clip.shape[1] != 1 or len(clip) == 0:
        raise ValueError(f"frames must be grayscale (T, 1, H, W), got {clip.shape}")
    return largest_field(clip.max(axis=(0, 1)))


def largest_field(brightest: np.ndarray) -> np.ndarray:
    """The same from each pixel's highest value over all frames ``(H, W)``."""
    patches, number = label(brightest > DARK)
    if number == 0:
        return np.ones(brightest.shape, bool)
    return np.asarray(binary_fill_holes(patches == 1 + np.argmax(np.bincount(patches.ravel())[1:])))


def field_edge(clip: ClipMasks, visible: ArrayLike | None) -> np.ndarray:
    """Outermost visible pixels ``(H, W)`` bool."""
    shape = clip.masks.shape[2:]
    field = np.ones(shape, bool) if visible is None else np.asarray(visible, bool)
    if field.shape != shape:
        raise ValueError(f"visible must have the masks' rows and columns {shape}, got {field.shape}")
    return field & ~binary_erosion(field)


def edge_warnings(clip: ClipMasks, edge: np.ndarray) -> list[str]:
    """One warning per structure that reaches the edge of the visible field."""
    words = []
    for name in CUT:
        shown = np.flatnonzero(clip.is_present(name)).tolist()
        on_edge = [np.count_nonzero(clip.mask(name, frame) & edge) for frame in shown]
        cut = sum(number >= TOUCHING_PIXELS for number in on_edge)
        if cut:
            words.append(
                f"{name} reaches the edge of the visible field in {cut} of {clip.num_frames} frames: "
                "what lies behind the edge is not measured"
            )
    return words
