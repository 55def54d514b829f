"""The stage between the network's masks and everything that is written of them."""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from bundle.inference.parts.body_track import BodyTrack
from bundle.inference.parts.pieces import Pieces, as_one_piece, find_pieces
from bundle.inference.parts.steady import SteadyMasks
from bundle.structures import MANY_PARTS, STRUCTURES


class HoldTogether:
    """Steady slow outlines, fill holes, and keep one part of each structure that is one body, its specks dropped.

    A structure that is absent in a frame stays absent. Those that a site names itself are left as they are: nobody
    knows here whether they have holes, or come in pieces.

    Args:
        structures: Names of the masks' channels, in order.
        least_share: Share of the frame's pixels that a body has at least; by default 16 pixels of 512 x 512, which is
            one cell of the grid that the network's logits come on.
        look_ahead: Frames after a frame that have a say in it.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(self, structures: Sequence[str], least_share: float = 16 / 512**2, look_ahead: int = 30) -> None:
        if not 0 <= least_share < 1 or look_ahead < 0:
            raise ValueError(
                f"least_share must be in [0, 1) and look_ahead 0 or more, got {least_share} and {look_ahead}"
            )
        self.structures = tuple(structures)
        self.least_share = least_share
        self.look_ahead = look_ahead

    def begin(self) -> "HeldFilm":
        """What takes the frames of one film."""
        return HeldFilm(self)

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """Hold the masks of a whole film ``(T, S, H, W)`` bool together, in their place."""
        film, places = self.begin(), iter(masks)
        for frame in masks:
            for ready in film.add(frame):
                next(places)[:] = ready
        for ready in film.finish():
            next(places)[:] = ready
        return masks


class HeldFilm:
    """Takes a film's masks frame by frame and gives them back held together, ``look_ahead`` + 1 frames later."""

    def __init__(self, settings: HoldTogether) -> None:
        self._settings = settings
        self._steady = SteadyMasks(settings.structures)
        self._tracks = {
            number: BodyTrack()
            for number, name in enumerate(settings.structures)
            if name in STRUCTURES and name not in MANY_PARTS
        }
        self._waiting: deque[list[Pieces | None]] = deque()
        self._frame_shape = (0, 0)

    def add(self, masks: np.ndarray) -> list[np.ndarray]:
        """Take the masks of the next frame, ``(S, H, W)`` bool, and give those of an earlier one, if one is decided.

        Raises:
            ValueError: If there is not one mask per structure.
        """
        if masks.ndim != 3 or len(masks) != len(self._settings.structures):
            raise ValueError(
                f"masks of a frame must be (S, H, W), one per structure {list(self._settings.structures)}, "
                f"got {masks.shape}"
            )
        return [held for frame in self._steady.add(masks) for held in self._hold(frame)]

    def finish(self) -> Iterator[np.ndarray]:
        """Yield the frames that are left."""
        for frame in self._steady.finish():
            yield from self._hold(frame)
        while self._waiting:
            yield self._take()

    def _hold(self, masks: np.ndarray) -> list[np.ndarray]:
        """Take a frame; give the one that is decided by it, if there is one."""
        least = max(1, round(self._settings.least_share * masks[0].size))
        pieces = [
            find_pieces(mask, 1 if name in MANY_PARTS else least) if name in STRUCTURES else as_one_piece(mask)
            for name, mask in zip(self._settings.structures, masks, strict=True)
        ]
        for number, track in self._tracks.items():
            found = pieces[number]
            track.add(*((np.zeros(0), np.zeros((0, 2))) if found is None else (found.areas, found.middles)))
        self._waiting.append(pieces)
        self._frame_shape = masks.shape[1:]
        return [self._take()] if len(self._waiting) > self._settings.look_ahead else []

    def _take(self) -> np.ndarray:
        pieces = self._waiting.popleft()
        masks: np.ndarray = np.zeros((len(pieces), *self._frame_shape), bool)
        for number, found in enumerate(pieces):
            part = self._tracks[number].take() if number in self._tracks else None
            if found is not None:
                found.paint(masks[number], part)
        return masks
