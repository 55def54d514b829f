"""Whether masks could be anatomy, without a label: where the structures of a lateral view lie to each other.

The rules hold in every phase of a swallow and at every age. Lengths are shares of the distance between C2 and C4, here
between their middles, frame by frame: ragged masks have no corners, and a rule must be able to fail in one frame alone.
A rule that holds says that masks are possible, not that they are right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

EVEN = (0.6, 2.3)  # distance from C2 to C3 over that from C3 to C4; C2's dens puts its middle higher
LIKE = (0.6, 1.67)  # area of C3 over that of C4: bodies of neighbors
# Side of a square as large as C3's body: body heights are about 0.8 of the distance between two vertebrae.
BODY = (0.2, 0.55)
BESIDE = 0.2  # how far C3 may lie beside the line from C2 to C4
OVERLAP = 0.1  # share of a vertebra that its neighbor may cover
NEAR = 0.25  # what touches but for the outlines' errors
INSIDE = 0.9  # share of the contrast that must be in or near the passage
VERTEBRAE = ("c2", "c3", "c4")
AIRWAY = ("laryngeal_vestibule", "trachea")
SPHINCTER = "upper_oesophageal_sphincter"
PASSAGE = ("tongue", "pharynx", "laryngeal_vestibule", "trachea", SPHINCTER)


class FrameMasks:
    """Masks of one frame ``(S, H, W)``, bool, by name, and what the rules ask of them."""

    def __init__(self, masks: np.ndarray, structures: Sequence[str], faces_right: bool = True) -> None:
        self.masks = dict(zip(structures, masks, strict=True))
        self._sign = 1.0 if faces_right else -1.0
        self._boxes = {name: box_of(mask) for name, mask in self.masks.items()}
        self._points: dict[str, np.ndarray] = {}

    def has(self, *names: str) -> bool:
        """Whether each of the structures is there."""
        return all(self._boxes.get(name) is not None for name in names)

    def middle(self, name: str) -> np.ndarray:
        """Mean row and column ``(2,)``."""
        if name not in self._points:
            self._points[name] = np.argwhere(self.masks[name][self._boxes[name]]).mean(axis=0) + self.top_left(name)
        return self._points[name]

    def top_left(self, name: str) -> np.ndarray:
        """First row and column of the structure's box ``(2,)``."""
        rows, columns = self._boxes[name] or (slice(0), slice(0))
        return np.array([rows.start, columns.start], float)

    def area(self, name: str) -> int:
        """Pixels."""
        return int(np.count_nonzero(self.masks[name]))

    def distance(self, one: str, other: str) -> float:
        """From middle to middle, in pixels."""
        return float(np.linalg.norm(self.middle(one) - self.middle(other)))

    @property
    def unit(self) -> float:
        """Distance from C2 to C4, in pixels."""
        return max(self.distance("c2", "c4"), 1.0)

    def forward(self, name: str) -> float:
        """How far a structure's middle lies in front of the line through C2 and C4, in units."""
        c4 = self.middle("c4")
        up = (self.middle("c2") - c4) / self.unit
        to_the_right = np.array([up[1], -up[0]])
        return float((self.middle(name) - c4) @ to_the_right) * self._sign / self.unit

    def covered(self, one: str, other: str) -> float:
        """Share of the smaller structure that lies on the other."""
        both = np.count_nonzero(self.masks[one] & self.masks[other])
        return both / max(min(self.area(one), self.area(other)), 1)

    def share_near(self, name: str, others: Sequence[str], above: int | None = None) -> float:
        """Share of a structure within ``NEAR`` units of any of the others, of its part above a row if one is given."""
        reach = int(np.ceil(NEAR * self.unit))
        window = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in self._boxes[name] or ())
        own = self.masks[name][window].copy()
        if above is not None:
            own[max(0, above - window[0].start) :] = False
        near = np.logical_or.reduce([self.masks[other][window] for other in others if other in self.masks])
        if not own.any() or not near.any():
            return float(not own.any())
        return float((ndimage.distance_transform_edt(~near)[own] <= reach).mean())


def box_of(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns around what is set in a mask ``(H, W)``; None if nothing is."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    band = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[band].any(axis=0))
    return band, slice(int(columns[0]), int(columns[-1]) + 1)


@dataclass(frozen=True)
class Rule:
    """One relation that anatomy demands."""

    name: str  # in words
    needs: tuple[str, ...]  # structures without which it cannot be asked
    holds: Callable[[FrameMasks], bool]  # whether a frame obeys it


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _above(*names: str) -> Callable[[FrameMasks], bool]:
    return lambda frame: all(frame.middle(one)[0] < frame.middle(other)[0] for one, other in pairwise(names))


def _in_front_of(one: str, other: str) -> Callable[[FrameMasks], bool]:
    return lambda frame: frame.forward(one) > frame.forward(other)


def _in_front_of_spine(name: str) -> Callable[[FrameMasks], bool]:
    return lambda frame: frame.forward(name) > max(0.0, frame.forward("c3"))


def _bolus_in_passage(frame: FrameMasks) -> bool:
    """Below the sphincter the oesophagus goes on, which has no mask."""
    end = int(frame.middle(SPHINCTER)[0])
    return frame.share_near("bolus", PASSAGE, above=end) >= INSIDE


RULES: tuple[Rule, ...] = (
    Rule("C2 above C3 above C4", VERTEBRAE, _above(*VERTEBRAE)),
    Rule(
        "C2, C3 and C4 evenly spaced",
        VERTEBRAE,
        lambda f: _within(f.distance("c2", "c3") / max(f.distance("c3", "c4"), 1.0), EVEN),
    ),
    Rule("C3 in line with C2 and C4", VERTEBRAE, lambda f: abs(f.forward("c3")) <= BESIDE),
    Rule("C3 and C4 of like size", ("c3", "c4"), lambda f: _within(f.area("c3") / f.area("c4"), LIKE)),
    Rule("C3 as large as its distance allows", VERTEBRAE, lambda f: _within(f.area("c3") ** 0.5 / f.unit, BODY)),
    Rule(
        "vertebrae apart",
        VERTEBRAE,
        lambda f: max(f.covered("c2", "c3"), f.covered("c3", "c4"), f.covered("c2", "c4")) <= OVERLAP,
    ),
    Rule("mandible in front of the spine", ("mandible", *VERTEBRAE), _in_front_of_spine("mandible")),
    Rule("hyoid in front of the spine", ("hyoid", *VERTEBRAE), _in_front_of_spine("hyoid")),
    Rule("hyoid in front of the pharynx", ("hyoid", "pharynx", *VERTEBRAE), _in_front_of("hyoid", "pharynx")),
    Rule("hyoid below the mandible's middle", ("mandible", "hyoid"), _above("mandible", "hyoid")),
    Rule(
        "hyoid below C2 and less than a unit below C4",
        ("hyoid", *VERTEBRAE),
        lambda f: f.middle("c2")[0] < f.middle("hyoid")[0] < f.middle("c4")[0] + f.unit,
    ),
    Rule("hyoid no larger than C3", ("hyoid", "c3"), lambda f: f.area("hyoid") <= f.area("c3")),
    Rule("tongue in front of the pharynx", ("tongue", "pharynx", *VERTEBRAE), _in_front_of("tongue", "pharynx")),
    Rule("tongue above the hyoid", ("tongue", "hyoid"), _above("tongue", "hyoid")),
    Rule(
        "tongue no higher than the mandible",
        ("tongue", "mandible"),
        lambda f: f.top_left("tongue")[0] >= f.top_left("mandible")[0],
    ),
    Rule("pharynx in front of the spine", ("pharynx", *VERTEBRAE), _in_front_of_spine("pharynx")),
    Rule(
        "epiglottis at the pharynx or airway",
        ("epiglottis", *VERTEBRAE),
        lambda f: f.share_near("epiglottis", ("pharynx", *AIRWAY)) > 0.5,
    ),
    Rule("epiglottis above the trachea", ("epiglottis", "trachea"), _above("epiglottis", "trachea")),
    Rule("vestibule above the trachea", AIRWAY, _above(*AIRWAY)),
    Rule(
        "trachea's top below the hyoid's middle",
        ("trachea", "hyoid"),
        lambda f: f.top_left("trachea")[0] > f.middle("hyoid")[0],
    ),
    Rule("trachea's top below C4's middle", ("trachea", "c4"), lambda f: f.top_left("trachea")[0] > f.middle("c4")[0]),
    Rule("sphincter behind the trachea", (SPHINCTER, "trachea", *VERTEBRAE), _in_front_of("trachea", SPHINCTER)),
    Rule("sphincter in front of the spine", (SPHINCTER, *VERTEBRAE), _in_front_of_spine(SPHINCTER)),
    Rule("sphincter below the pharynx", ("pharynx", SPHINCTER), _above("pharynx", SPHINCTER)),
    Rule("contrast in or at the passage", ("bolus", SPHINCTER, *VERTEBRAE), _bolus_in_passage),
)


def plausibility(masks: np.ndarray, structures: Sequence[str], faces_right: bool = True) -> dict[str, np.ndarray]:
    """Ask every rule of every frame of masks ``(T, S, H, W)``, bool; the patient looks to the right, or to the left.

    Returns:
        By rule, ``(T,)``: 1 where it holds, 0 where not, NaN where a structure that it needs is missing.
    """
    frames = [FrameMasks(frame, structures, faces_right) for frame in masks]
    return {rule.name: np.array([_ask(rule, frame) for frame in frames]) for rule in RULES}


def _ask(rule: Rule, frame: FrameMasks) -> float:
    return float(rule.holds(frame)) if frame.has(*rule.needs) else float("nan")
