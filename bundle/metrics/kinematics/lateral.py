"""Whether masks stand as a neck's do in a lateral view: measures of anything else would be claims about nothing."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bundle.metrics.kinematics.clip_masks import ClipMasks, FilmMeasures, MaskFrames, SwallowMeasures
from bundle.metrics.kinematics.film import measure_film
from bundle.metrics.plausibility import RULES, plausibility
from bundle.structures import STRUCTURES

# Structures that say whether it is a neck; the contrast comes and goes, others often lie outside the picture.
NECK = frozenset(("c2", "c3", "c4", "hyoid", "pharynx"))
# Share of the rules about the neck that holds, in the frames that show anything of it. Measured with the shipped model:
# 0.98 and more in a real swallow and in 20 phantoms, 0.53 in a coronary film.
NECK_RULES = 0.8
# Share of all rules that holds, of those that can be asked. Measured with the shipped model: 0.97 and more in a real
# swallow and in 20 phantoms; 0.71 in a coronary film, and at most 0.83 in 12 chest pictures, of which 3 pass the rules
# about the neck.
ALL_RULES = 0.9
MOST_FRAMES = 32  # frames that are asked, evenly spread

REFUSAL = (
    "this does not look like a lateral swallow study: vertebrae C2 to C4, hyoid and pharynx do not lie to each other "
    "as in a neck seen from the side, so nothing is measured"
)


def measure_if_lateral(
    masks: ArrayLike | MaskFrames,
    frame_times_ms: ArrayLike | None,
    structures: Sequence[str] = STRUCTURES,
    pixel_aspect: float = 1.0,
    visible: ArrayLike | None = None,
) -> FilmMeasures:
    """What ``measure_film`` gives, or the refusal in its place; arguments as there."""
    clip = ClipMasks(masks, None, structures, pixel_aspect)
    film = measure_film(masks, frame_times_ms, structures, pixel_aspect, visible)
    if is_lateral(clip.masks, structures):
        return film
    table = {
        name: replace(measure, value=None, num_frames=0, reason=f"not computable: {REFUSAL}")
        for name, measure in film.swallows[0].measures.items()
    }
    nothing = SwallowMeasures(table, {}, (), (), (0, clip.num_frames))
    return FilmMeasures((nothing,), refusal=REFUSAL)


def is_lateral(masks: MaskFrames, structures: Sequence[str]) -> bool:
    """Whether the structures of a neck stand as they do in a lateral view, facing either way.

    Args:
        masks: ``(T, S, H, W)`` bool; the rules hold for oblong pixels too.
        structures: Names of the channels, in order.

    Returns:
        Whether as many rules hold as ``NECK_RULES`` and ``ALL_RULES`` say. A rule about the neck does not hold where a
        frame lacks what it is about. True where the model has no structures that these are about.
    """
    is_neck = np.array([set(rule.needs) <= NECK & set(structures) for rule in RULES])
    if not is_neck.any():
        return True
    places = np.unique(np.linspace(0, len(masks) - 1, MOST_FRAMES).round().astype(int))
    frames = (np.asarray(masks[int(place)], bool) for place in places)
    answers = [_ask(frame, structures) for frame in frames if _shows_neck(frame, structures)]
    return bool(answers) and any(_stands(side, is_neck) for side in np.stack(answers, axis=1))


def _shows_neck(masks: np.ndarray, structures: Sequence[str]) -> bool:
    return any(mask.any() for mask, name in zip(masks, structures, strict=True) if name in NECK)


def _ask(masks: np.ndarray, structures: Sequence[str]) -> np.ndarray:
    """Each rule's answer in a frame ``(2, R)``, for a patient who looks to the right, and to the left."""
    sides = (plausibility(masks[None], structures, faces_right) for faces_right in (True, False))
    return np.array([[float(answer[0]) for answer in side.values()] for side in sides])


def _stands(answers: np.ndarray, is_neck: np.ndarray) -> bool:  # (frames, R), (R,)
    neck = np.nan_to_num(answers[:, is_neck]).mean()
    return bool(neck >= NECK_RULES and np.nanmean(answers) >= ALL_RULES)
