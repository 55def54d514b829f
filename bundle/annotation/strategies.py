"""Which image an annotator is given next: by name, by chance, or the one on which the model doubts most."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from bundle.annotation.refusals import RefusedRequestError

NEW_SCORES = 20  # images that one request scores at most, at a second or so each; the others wait for the next


class Findings:
    """A number of each image, or why it cannot be read; kept until its version changes.

    Args:
        measure: The number of an image, of its path; a RefusedRequestError says that it cannot be read.
        version: Of an image's path; what was found holds as long as it stays.
    """

    def __init__(self, measure: Callable[[str], float], version: Callable[[str], object]) -> None:
        self._measure, self._version = measure, version
        self._found: dict[object, float | str] = {}

    def has(self, path: str) -> bool:
        """Whether an image was measured before."""
        return self._version(path) in self._found

    def get(self, path: str) -> float | str:
        """The number of an image, or the reason why there is none."""
        key = self._version(path)
        if key not in self._found:
            try:
                self._found[key] = self._measure(path)
            except RefusedRequestError as error:
                self._found[key] = str(error)
        return self._found[key]


class NextImage(Strategy):
    """An image without a final label that can be read; those found that cannot are skipped, and listed in the answer.

    Args:
        description: For the viewer.
        order: Puts images' ids in the order in which they are looked at.
        findings: Reads images.
        new_scores: How many images a request measures that no earlier one has, to take the one with the largest number
            of all; None: the first that can be read is taken.
    """

    def __init__(
        self,
        description: str,
        order: Callable[[Iterable[str]], Sequence[str]],
        findings: Findings,
        new_scores: int | None = None,
    ) -> None:
        super().__init__(description)
        self.order, self.findings, self.new_scores = order, findings, new_scores

    def __call__(self, _request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The image's id, its number if numbers are compared, and ``unreadable``; None if every image has a label."""
        numbers, unreadable = self._look(datastore)
        if not numbers:
            if unreadable:
                image, reason = next(iter(unreadable.items()))
                some = f"none of the {len(unreadable)} images without a label can be read: {image!r} is {reason}"
                raise RefusedRequestError(some, status=409)
            return None
        image = max(numbers, key=lambda name: numbers[name])
        answer: dict[str, Any] = {"id": image}
        if self.new_scores is not None:
            answer["uncertainty"] = round(numbers[image], 4)
        return answer | ({"unreadable": unreadable} if unreadable else {})

    def _look(self, datastore: Datastore) -> tuple[dict[str, float], dict[str, str]]:
        numbers: dict[str, float] = {}
        unreadable: dict[str, str] = {}
        left = 1 if self.new_scores is None else self.new_scores
        for image in self.order(datastore.get_unlabeled_images()):
            path = datastore.get_image_uri(image)
            try:
                is_new = not self.findings.has(path)
                if is_new and not left:
                    continue
                found = self.findings.get(path)
            except FileNotFoundError:  # removed since it was listed
                continue
            if isinstance(found, str):
                unreadable[image] = found
                continue
            numbers[image] = found
            left -= is_new
            if self.new_scores is None:
                break
        return numbers, unreadable


def by_chance(images: Iterable[str]) -> Sequence[str]:
    """Images in any order."""
    known = list(images)
    return random.sample(known, len(known))
