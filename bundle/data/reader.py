"""MONAI's way in: ``LoadImaged(keys="image", reader="bundle.data.reader.ClipReader")`` gives ``(T, 1, H, W)``."""

import json
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import ensure_tuple

from bundle.data.clip import Clip, check_aspect
from bundle.data.kinds import READABLE_SUFFIXES
from bundle.data.readers import read_clip
from bundle.keys import PIXEL_ASPECT, PIXEL_SPACING_MM


class ClipReader(ImageReader):
    """Read any source that ``read_clip`` reads; the meta dictionary carries times, spacing and pixel shape.

    ``LoadImage`` silently goes on to its own readers when ``read`` raises, and those read multi-frame DICOM with wrong
    axes and gray values. So ``read`` only notes the path, and ``get_data``, whose errors are not caught, reads it.
    Several files are the single frames of one DICOM series.

    Args:
        strict: Whether a video that is cut off is refused, instead of read as far as it goes, with a warning.
        pixel_aspect: Height of a pixel divided by its width, the user's word for sources without a pixel spacing, such
            as captures whose header is silent or wrong. None: what the source states.

    Raises:
        ValueError: If ``pixel_aspect`` is not positive.
    """

    def __init__(self, strict: bool = False, pixel_aspect: float | None = None) -> None:
        super().__init__()
        check_aspect(pixel_aspect)
        self.strict = strict
        self.pixel_aspect = pixel_aspect

    def verify_suffix(self, filename: Sequence[str | PathLike] | str | PathLike) -> bool:
        paths = [Path(name) for name in ensure_tuple(filename)]
        return all(path.is_dir() or path.name.lower().endswith(READABLE_SUFFIXES) for path in paths)

    def read(self, data: Sequence[str | PathLike] | str | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        if kwargs:
            raise TypeError(f"ClipReader.read takes no options, got {sorted(kwargs)}")
        return tuple(Path(path) for path in ensure_tuple(data))

    def get_data(self, img: tuple[Path, ...]) -> tuple[np.ndarray, dict[str, Any]]:
        """Frames ``(T, 1, H, W)`` and their meta dictionary."""
        clip = with_aspect(read_clip(img if len(img) > 1 else img[0], self.strict), self.pixel_aspect)
        spacing = clip.pixel_spacing_mm or (float("nan"), float("nan"))
        times = clip.frame_times_ms if clip.frame_times_ms is not None else np.full(clip.num_frames, np.nan)
        meta = {
            "affine": np.eye(4),  # a projection has no place in the patient; spacing is kept apart
            "spatial_shape": np.array((clip.shape.rows, clip.shape.columns)),
            "original_channel_dim": 1,
            "frame_times_ms": times,
            "frame_times_source": clip.frame_times_source,
            PIXEL_SPACING_MM: np.array(spacing),
            "spacing_source": clip.spacing_source,
            PIXEL_ASPECT: clip.pixel_aspect,
            "pixel_intensity_relationship": clip.pixel_intensity_relationship,
            # As text: data loaders collate lists, and would turn these inside out.
            "warnings": json.dumps(clip.warnings),
            "origin": json.dumps([(str(frame.path), frame.index) for frame in clip.origin]),
            "filename": str(img[0]),
        }
        return clip.frames, meta


def with_aspect(clip: Clip, pixel_aspect: float | None) -> Clip:
    """The clip with the user's word about the shape of its pixels, and a warning that says so.

    A clip with a pixel spacing says the shape itself, and is returned as it is.
    """
    if pixel_aspect is None or clip.pixel_spacing_mm is not None:
        return clip
    words = f"by the user's word pixels are {pixel_aspect:g} times as high as wide, and are taken so"
    if clip.pixel_aspect not in (1, pixel_aspect):
        words += f"; the file says {clip.pixel_aspect:g}"
    return replace(clip, pixel_aspect=pixel_aspect, warnings=(*clip.warnings, words))
