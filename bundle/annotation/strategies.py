"""Which image an annotator is given next: by name, by chance, or the one on which the model doubts most."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from bundle.annotation.refusals import RefusedRequestError

NEW_SCORES = 20
"""Images that one request scores at most, at a second or so each; the others wait for the next."""


class First(Strategy):
    """The first image without a final label, by name."""

    def __init__(self) -> None:
        super().__init__("The first image without a label, by name")

    def __call__(self, _request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The image's id, or None if all are labelled."""
        images = sorted(datastore.get_unlabeled_images())
        return {"id": images[0]} if images else None


class ByChance(Strategy):
    """Any image without a final label."""

    def __init__(self) -> None:
        super().__init__("Any image without a label")

    def __call__(self, _request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The image's id, or None if all are labelled."""
        images = sorted(datastore.get_unlabeled_images())
        return {"id": random.choice(images)} if images else None


class Uncertainty(Strategy):
    """The image without a final label on which the model doubts most.

    Scores are kept until the model or the image changes, and each request adds at most ``new_scores``. An image that
    cannot be read has none.

    Args:
        score: An image's doubt, of its path.
        version: Of an image's path and the model; a score holds as long as it stays.
        new_scores: Images that one request scores.
    """

    def __init__(
        self, score: Callable[[str], float], version: Callable[[str], object], new_scores: int = NEW_SCORES
    ) -> None:
        super().__init__("The image on which the model doubts most")
        self.score, self.version, self.new_scores = score, version, new_scores
        self._scores: dict[object, float | None] = {}

    def __call__(self, _request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The image's id and its doubt, or None if no readable image is left."""
        scores: dict[str, float] = {}
        left = self.new_scores
        for image in sorted(datastore.get_unlabeled_images()):
            path = datastore.get_image_uri(image)
            try:
                key = self.version(path)
            except FileNotFoundError:  # removed since it was listed
                continue
            if key not in self._scores:
                if not left:
                    continue
                left -= 1
                self._scores[key] = self._score(path)
            score = self._scores[key]
            if score is not None:
                scores[image] = score
        if not scores:
            return None
        image = max(scores, key=lambda name: scores[name])
        return {"id": image, "uncertainty": round(scores[image], 4)}

    def _score(self, path: str) -> float | None:
        try:
            return self.score(path)
        except RefusedRequestError:
            return None
