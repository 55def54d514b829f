"""MONAI's way in: ``LoadImaged(keys="image", reader="bundle.data.reader.ClipReader")`` gives ``(T, 1, H, W)``."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import ensure_tuple

from bundle.data.readers import READABLE_SUFFIXES, read_clip


class ClipReader(ImageReader):
    """Read any source that ``read_clip`` reads; the meta dictionary carries times, spacing and its source.

    ``LoadImage`` silently goes on to its own readers when ``read`` raises, and those read multi-frame DICOM with wrong
    axes and gray values. So ``read`` only notes the path, and ``get_data``, whose errors are not caught, reads it.
    Several files are the single frames of one DICOM series.

    Args:
        strict: Whether a video that is cut off is refused, instead of read as far as it goes, with a warning.
    """

    def __init__(self, strict: bool = False) -> None:
        super().__init__()
        self.strict = strict

    def verify_suffix(self, filename: Sequence[str | PathLike] | str | PathLike) -> bool:
        paths = [Path(name) for name in ensure_tuple(filename)]
        return all(path.is_dir() or path.name.lower().endswith(READABLE_SUFFIXES) for path in paths)

    def read(self, data: Sequence[str | PathLike] | str | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        if kwargs:
            raise TypeError(f"ClipReader.read takes no options, got {sorted(kwargs)}")
        return tuple(Path(path) for path in ensure_tuple(data))

    def get_data(self, img: tuple[Path, ...]) -> tuple[np.ndarray, dict[str, Any]]:
        """Frames ``(T, 1, H, W)`` and their meta dictionary.

        Raises:
            UnreadableStudyError: If the file holds no X-ray clip.
        """
        clip = read_clip(img if len(img) > 1 else img[0], self.strict)
        spacing = clip.pixel_spacing_mm or (float("nan"), float("nan"))
        times = clip.frame_times_ms if clip.frame_times_ms is not None else np.full(clip.num_frames, np.nan)
        meta = {
            "affine": np.eye(4),  # a projection has no place in the patient; spacing is kept apart
            "spatial_shape": np.array(clip.frames.shape[2:]),
            "original_channel_dim": 1,
            "frame_times_ms": times,
            "pixel_spacing_mm": np.array(spacing),
            "spacing_source": clip.spacing_source,
            "pixel_intensity_relationship": clip.pixel_intensity_relationship,
            # As text: data loaders collate lists, and would turn these inside out.
            "warnings": json.dumps(clip.warnings),
            "origin": json.dumps([(str(frame.path), frame.index) for frame in clip.origin]),
            "filename": str(img[0]),
        }
        return clip.frames, meta
