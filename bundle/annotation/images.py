"""The images that annotators work on: any clip that the bundle reads, kept decoded while it is in use."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from bundle.annotation.label_maps import Grid
from bundle.annotation.refusals import RefusedRequestError
from bundle.data.clip import Clip, UnreadableStudyError
from bundle.data.nifti import NIFTI_SUFFIXES
from bundle.data.readers import read_clip
from bundle.data.sources import own_files
from bundle.teachers.checkpoint import file_sha256
from bundle.transforms.field_of_view import Window, view_of_clip
from bundle.transforms.recent import RecentlyUsed

NUM_CLIPS = 2
"""Decoded clips that are kept: the one being annotated, and the one before."""

ContentKey = tuple[str, int, int]
"""Path, size and time of change: what is kept of an image goes when its file changes."""


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
        """One frame ``(1, H, W)`` in [0, 1].

        Raises:
            RefusedRequestError: If there is no such frame.
        """
        return torch.from_numpy(self.clip.frame(self.check_frame(index)))

    def check_frame(self, index: object) -> int:
        """The index, if the clip has such a frame.

        Raises:
            RefusedRequestError: If it has not.
        """
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
        """The image of a file, or of a folder that is one series.

        Raises:
            RefusedRequestError: If it is none that the bundle reads: 404 if it is not there, else 422.
        """
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
    """A NIfTI's own axes; for other sources columns to the left, rows down, frames one millimetre apart."""
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        image = nib.load(path)
        return Grid(tuple(int(size) for size in image.shape), np.asarray(image.affine))  # type: ignore[attr-defined]
    rows_mm, columns_mm = clip.pixel_spacing_mm or (clip.pixel_aspect, 1.0)
    shape = (clip.shape.columns, clip.shape.rows, clip.num_frames)
    return Grid(shape, np.diag([-columns_mm, -rows_mm, 1.0, 1.0]))
