"""Whether frames, and a study, are what the model is made for, a lateral view of a swallow: decided here alone.

Of a frame it is asked what can be seen in it, how far its features lie from those of the training's frames (both from
``bundle.inference.input_check``), and how many rules of anatomy its masks obey. A study is asked the same of its frames
together. docs/laboratory/input_check.md has what this decides about swallows and other pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bundle.metrics.kinematics.clip_masks import ClipMasks, FilmMeasures, MaskFrames, SwallowMeasures
from bundle.metrics.kinematics.film import measure_film
from bundle.metrics.plausibility import RULES, plausibility
from bundle.structures import STRUCTURES

# Structures that say whether it is a neck; the contrast comes and goes, others often lie outside the picture.
NECK = frozenset(("c2", "c3", "c4", "hyoid", "pharynx"))
NECK_RULES = 0.8
"""Share of the rules about the neck that holds; one does not hold where a frame lacks what it is about."""
ALL_RULES = 0.9
"""Share of all rules that holds, of those that can be asked."""
MOST_FRAMES = 32
"""Frames whose masks are asked, evenly spread."""
LARGE = 256
"""Pixels of the longer side of masks, above which only every second row and column is asked."""

NOTHING_FOUND = np.full((2, len(RULES)), np.nan)
"""Answers of a frame whose masks show nothing of a neck."""

UNLIKE = "the picture is unlike those that the model was trained on"
NO_NECK = (
    "vertebrae C2 to C4, hyoid and pharynx, as far as the model finds them, do not lie to each other as in a neck seen "
    "from the side"
)
NOTHING_SEEN = "in every frame that was looked at, hardly anything can be seen"


@dataclass(frozen=True)
class Look:
    """What a picture alone says of one frame."""

    frame: int  # index in the film
    exposure: str = ""  # why nothing can be seen; empty where something can
    distance: float | None = None  # of its features from those of the training's frames, in limits; None: not measured


@dataclass(frozen=True)
class FrameVerdict:
    """What became of one frame that was looked at."""

    frame: int  # index in the film
    distance: float | None  # as in ``Look``
    rules: float | None  # share of the rules of anatomy that holds; None: none was asked, or none can be
    reason: str  # why it is refused; empty where it is accepted


@dataclass(frozen=True)
class Verdict:
    """Whether a study is what the model is made for."""

    reason: str  # why it is refused; empty where it is accepted
    frames: tuple[FrameVerdict, ...] = ()  # those that were looked at
    off: str = ""  # why its pictures were not compared; empty where they were

    @property
    def refusal(self) -> str:
        """The refusal in a sentence, without its full stop; empty where the study is accepted."""
        words = f"this does not look like a lateral swallow study: {self.reason}, so nothing is measured"
        return words if self.reason else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of an accepted study should know."""
        refused = [verdict.frame + 1 for verdict in self.frames if verdict.reason]
        words = [f"its pictures were not compared with the training's: {self.off}"] if self.off else []
        if refused and not self.reason:
            words.append(
                f"{len(refused)} of {len(self.frames)} frames that were checked do not look like a lateral swallow "
                f"study, the first of them frame {refused[0]}"
            )
        return tuple(words)

    @property
    def words(self) -> str:
        """All of it in one line."""
        return "; ".join([self.refusal or "it looks like a lateral swallow study", *self.notes])

    def describe(self) -> dict[str, Any]:
        """Plain values; one entry of each list for every frame that was looked at, counted from 1."""
        return {
            "refusal": self.refusal,
            "off": self.off,
            "frames": [verdict.frame + 1 for verdict in self.frames],
            "distances": [_rounded(verdict.distance) for verdict in self.frames],
            "rules": [_rounded(verdict.rules) for verdict in self.frames],
            "refused": [verdict.reason for verdict in self.frames],
        }


def judge_study(
    masks: MaskFrames, structures: Sequence[str] = STRUCTURES, looks: Sequence[Look] | None = None, off: str = ""
) -> Verdict:
    """Decide about a study, and about each frame that was looked at.

    Args:
        masks: ``(T, S, H, W)`` bool; pixels may be oblong, and the patient may face either way.
        structures: Names of the channels, in order; without those of a neck nothing is asked of the masks.
        looks: What the pictures say. None: nothing is known of them.
        off: Why no distances are known.
    """
    looks = tuple(looks or ())
    exposures = {look.frame: look.exposure for look in looks if look.exposure}
    distances = {look.frame: look.distance for look in looks if look.distance is not None and not look.exposure}
    is_neck = np.array([set(rule.needs) <= NECK & set(structures) for rule in RULES])
    asked = _spread(len(masks)) if is_neck.any() else []
    answers = {frame: _ask(masks[frame], structures) for frame in asked if frame not in exposures}
    frames = tuple(
        _judge_frame(frame, exposures.get(frame, ""), distances.get(frame), answers.get(frame), is_neck)
        for frame in sorted({look.frame for look in looks} | answers.keys())
    )
    if looks and len(exposures) == len(looks):
        return Verdict(NOTHING_SEEN, frames, off)
    known = [answer for answer in answers.values() if answer is not NOTHING_FOUND] or list(answers.values())
    return Verdict(_reason(list(distances.values()), known, is_neck), frames, off)


def measure_if_lateral(
    masks: ArrayLike | MaskFrames,
    frame_times_ms: ArrayLike | None,
    structures: Sequence[str] = STRUCTURES,
    pixel_aspect: float = 1.0,
    visible: ArrayLike | None = None,
    verdict: Verdict | None = None,
) -> FilmMeasures:
    """What ``measure_film`` gives, or the refusal in its place; arguments as there.

    ``verdict`` is what was decided about the study. None: it is decided from the masks alone.
    """
    clip = ClipMasks(masks, None, structures, pixel_aspect)
    film = measure_film(masks, frame_times_ms, structures, pixel_aspect, visible)
    refusal = (verdict or judge_study(clip.masks, structures)).refusal
    if not refusal:
        return film
    table = {
        name: replace(measure, value=None, num_frames=0, reason=f"not computable: {refusal}")
        for name, measure in film.swallows[0].measures.items()
    }
    nothing = SwallowMeasures(table, {}, (), (), (0, clip.num_frames))
    return FilmMeasures((nothing,), refusal=refusal)


def _spread(num_frames: int) -> list[int]:
    return np.unique(np.linspace(0, num_frames - 1, MOST_FRAMES).round().astype(int)).tolist()


def _ask(masks: ArrayLike, structures: Sequence[str]) -> np.ndarray:
    """Each rule's answer in a frame ``(2, R)``, for a patient who looks to the right, and to the left."""
    step = 2 if max(np.shape(masks)[1:]) > LARGE else 1
    seen = np.asarray(masks, bool)[:, ::step, ::step]
    if not any(mask.any() for mask, name in zip(seen, structures, strict=True) if name in NECK):
        return NOTHING_FOUND
    sides = (plausibility(seen[None], structures, faces_right) for faces_right in (True, False))
    return np.array([[float(answer[0]) for answer in side.values()] for side in sides])


def _judge_frame(
    frame: int, exposure: str, distance: float | None, answers: np.ndarray | None, is_neck: np.ndarray
) -> FrameVerdict:
    """One frame as if it were a study."""
    known = [] if answers is None else [answers]
    reason = exposure or _reason([] if distance is None else [distance], known, is_neck)
    is_unknown = answers is None or np.isnan(answers).all()
    rules = None if answers is None or is_unknown else float(np.nanmean(answers, axis=1).max())
    return FrameVerdict(frame, distance, rules, reason)


def _reason(distances: Sequence[float], answers: Sequence[np.ndarray], is_neck: np.ndarray) -> str:
    """Why frames are refused together, of whose pictures and masks this is known; empty where they are not."""
    if distances and np.median(distances) > 1:
        return UNLIKE
    return "" if not answers or any(_stands(side, is_neck) for side in np.stack(answers, axis=1)) else NO_NECK


def _stands(answers: np.ndarray, is_neck: np.ndarray) -> bool:  # (frames, R), (R,)
    if np.isnan(answers).all():
        return False
    neck = np.nan_to_num(answers[:, is_neck]).mean()
    return bool(neck >= NECK_RULES and np.nanmean(answers) >= ALL_RULES)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
