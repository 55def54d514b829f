"""What the model has proposed of each image, so that a label that comes back says whose work each structure is."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from bundle.annotation.images import StudyImage
from bundle.annotation.label_maps import Annotation
from bundle.inference.dicom_seg import SegmentOrigin

DIGEST_BYTES = 8
NOTHING = "0" * 2 * DIGEST_BYTES
"""Stands for a mask without a pixel."""


@dataclass(frozen=True)
class Proposals:
    """Digests of every mask that went to a viewer: a file for each image's content, a line for each answer.

    Attributes:
        folder: Made when something is written.
        structures: Names, in order.
    """

    folder: Path
    structures: tuple[str, ...]

    def add(
        self,
        image: StudyImage,
        annotation: Annotation,
        frames: Sequence[int],
        names: Sequence[str],
        model: Mapping[str, str],
        is_automatic: bool,
    ) -> None:
        """Keep what is sent.

        Args:
            image: Of which it is.
            annotation: What is sent.
            frames: That were answered.
            names: Of the structures that were answered.
            model: Name, version and ``sha256`` of the model.
            is_automatic: Whether nobody has clicked.
        """
        masks = {name: "".join(of_frames) for name, of_frames in self._digests(annotation, frames, names).items()}
        line = {"is_automatic": is_automatic, "model": dict(model), "frames": list(frames), "masks": masks}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file(image).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line))  # a line that was cut off by a full disk spoils no other

    def origins(self, image: StudyImage, annotation: Annotation, frames: Sequence[int]) -> dict[str, SegmentOrigin]:
        """Whose work each structure of a label is, by its labelled frames.

        ``AUTOMATIC`` if all its masks are as the model has proposed them without clicks, empty ones too; else
        ``SEMIAUTOMATIC`` if the model has shown a mask of it in any of the frames, by clicks or not; else ``MANUAL``.
        """
        answers = self._answers(image)
        sent = self._digests(annotation, frames, self.structures)
        return {name: _origin(name, dict(zip(frames, sent[name], strict=True)), answers) for name in self.structures}

    def _digests(self, annotation: Annotation, frames: Sequence[int], names: Sequence[str]) -> dict[str, list[str]]:
        indices = [self.structures.index(name) for name in names]
        digests: dict[str, list[str]] = {name: [] for name in names}
        for frame in frames:  # one by one: the masks of a long cine are larger than its labels
            (masks,) = annotation.masks([frame], len(self.structures))
            for name, index in zip(names, indices, strict=True):
                digests[name].append(_digest(masks[index]))
        return digests

    def _answers(self, image: StudyImage) -> list[dict[str, Any]]:
        path = self._file(image)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [answer for line in lines if (answer := _answer(line))]

    def _file(self, image: StudyImage) -> Path:
        return self.folder / f"{image.content}.jsonl"


def _answer(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:  # empty, or cut off: nobody has got that answer
        return None


def _digest(mask: np.ndarray) -> str:  # (H, W)
    return blake2b(np.packbits(mask).tobytes(), digest_size=DIGEST_BYTES).hexdigest() if mask.any() else NOTHING


def _origin(name: str, sent: Mapping[int, str], answers: Sequence[Mapping[str, Any]]) -> SegmentOrigin:
    automatic: set[tuple[int, str]] = set()
    matched = shown = None
    for answer in answers:
        proposed = _proposed(answer, name, sent)
        if answer["is_automatic"]:
            automatic |= proposed.items()
        if proposed.items() & sent.items():
            matched = answer["model"]
        if any(mask != NOTHING for mask in proposed.values()):
            shown = answer["model"]
    if sent.items() <= automatic:
        return SegmentOrigin("AUTOMATIC", matched)
    return SegmentOrigin("SEMIAUTOMATIC", matched or shown) if shown else SegmentOrigin("MANUAL")


def _proposed(answer: Mapping[str, Any], name: str, frames: Container[int]) -> dict[int, str]:
    """Digest of a structure's mask in every frame that an answer and ``frames`` have in common."""
    digests, width = answer["masks"].get(name, ""), len(NOTHING)
    masks = [digests[start : start + width] for start in range(0, len(digests), width)]
    return {frame: mask for frame, mask in zip(answer["frames"], masks, strict=False) if frame in frames}
