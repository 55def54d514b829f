"""The images that annotators work on, kept decoded while in use, and what the model has proposed of each.

A label that comes back then says whose work each of its structures is.
"""

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from bundle.annotation.label_maps import Annotation, Grid
from bundle.annotation.refusals import RefusedRequestError
from bundle.data.clip import Clip, UnreadableStudyError
from bundle.data.kinds import NIFTI_SUFFIXES
from bundle.data.readers import read_clip
from bundle.data.sources import own_files
from bundle.inference.dicom_seg import SegmentOrigin
from bundle.transforms.field_of_view import Window, view_of_clip
from bundle.transforms.recent import RecentlyUsed
from bundle.weights import file_sha256

DIGEST_BYTES = 8
NOTHING = "0" * 2 * DIGEST_BYTES  # stands for a mask without a pixel
NUM_CLIPS = 2  # decoded clips that are kept: the one being annotated, and the one before
ContentKey = tuple[str, int, int]  # path, size and time of change: what is kept of an image goes when its file changes


@dataclass(frozen=True, eq=False)
class StudyImage:
    """A clip, how viewers see its axes, and a key of its content."""

    clip: Clip
    grid: Grid
    key: ContentKey

    @cached_property
    def view(self) -> Window:
        """The part of its frames that shows the picture, without a recording's black border."""
        return view_of_clip(self.clip)

    @cached_property
    def content(self) -> str:
        """Checksum of its files, the same under every name and in every folder."""
        checksums = [file_sha256(path) for path in dict.fromkeys(origin.path for origin in self.clip.origin)]
        return hashlib.sha256(" ".join(checksums).encode()).hexdigest()

    def frame(self, index: int) -> Tensor:
        """One frame ``(1, H, W)`` in [0, 1]."""
        return torch.from_numpy(self.clip.frame(self.check_frame(index)))

    def check_frame(self, index: object) -> int:
        """The index, if the clip has such a frame."""
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < self.clip.num_frames:
            raise RefusedRequestError(
                f"slice must be a frame from 0 to {self.clip.num_frames - 1} of this image, got {index!r}"
            )
        return index


class ImageCache:
    """Reads images; the latest stay decoded."""

    def __init__(self, num_clips: int = NUM_CLIPS) -> None:
        self._recent = RecentlyUsed(num_clips)

    def get(self, path: str | Path) -> StudyImage:
        """The image of a file, or of a folder that is one series."""
        path = Path(path)
        if not path.exists():
            raise RefusedRequestError("there is no such image", status=404)
        key = content_key(path)
        return self._recent.get(key, lambda: _read(path, key))


def content_key(path: Path) -> ContentKey:
    """Changes whenever the file does; of a folder, whenever a file in it does."""
    files = own_files(path) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return str(path), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _read(path: Path, key: ContentKey) -> StudyImage:
    try:
        clip = read_clip(path)
    except UnreadableStudyError as error:
        raise RefusedRequestError(f"not a readable image: {error.reason}") from None
    return StudyImage(clip, _grid(path, clip), key)


def _grid(path: Path, clip: Clip) -> Grid:
    """A NIfTI's own axes; for other sources columns to the left, rows down, frames one millimeter apart."""
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        image = nib.load(path)
        return Grid(tuple(int(size) for size in image.shape), np.asarray(image.affine))  # type: ignore[attr-defined]
    rows_mm, columns_mm = clip.pixel_spacing_mm or (clip.pixel_aspect, 1.0)
    shape = (clip.shape.columns, clip.shape.rows, clip.num_frames)
    return Grid(shape, np.diag([-columns_mm, -rows_mm, 1.0, 1.0]))


@dataclass(frozen=True)
class Proposals:
    """Digests of every mask that went to a viewer: a file for each image's content, a line for each answer."""

    folder: Path  # made when something is written
    structures: tuple[str, ...]  # names, in order

    def add(
        self,
        image: StudyImage,
        annotation: Annotation,
        frames: Sequence[int],
        names: Sequence[str],
        model: Mapping[str, str],
        is_automatic: bool,
    ) -> None:
        """Keep what is sent."""
        masks = {name: "".join(of_frames) for name, of_frames in self._digests(annotation, frames, names).items()}
        line = {"is_automatic": is_automatic, "model": dict(model), "frames": list(frames), "masks": masks}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file(image).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line))  # a line that was cut off by a full disk spoils no other

    def origins(self, image: StudyImage, annotation: Annotation, frames: Sequence[int]) -> dict[str, SegmentOrigin]:
        """Whose work each structure of a label is, by its labeled frames.

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
