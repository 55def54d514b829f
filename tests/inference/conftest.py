"""A clip small enough to see, with masks."""

from pathlib import Path

import numpy as np
import pytest

from bundle.data.clip import Clip, FrameOrigin
from bundle.inference.study import SegmentedStudy

STRUCTURES = ("bolus", "hyoid", "c2")


def make_clip(num_frames: int = 4, rows: int = 20, columns: int = 31, **attributes) -> Clip:
    """A clip with a bright square that moves right; odd and oblong, so that swapped axes show."""
    frames = np.full((num_frames, 1, rows, columns), 0.25, np.float32)
    for index in range(num_frames):
        frames[index, 0, 5:12, 3 + index : 11 + index] = 0.9
    attributes = {
        "frame_times_ms": np.arange(num_frames) * 40.0,
        "pixel_spacing_mm": (0.3, 0.5),
        "spacing_source": "calibrated PixelSpacing",
        **attributes,
    }
    origin = tuple(FrameOrigin(Path("JANE_DOE/cine.dcm"), index) for index in range(num_frames))
    return Clip(stored=frames, origin=origin, name="JANE_DOE", **attributes)


@pytest.fixture
def study(masks, clip) -> SegmentedStudy:
    """The clip with its masks."""
    return SegmentedStudy(masks, clip, STRUCTURES)


@pytest.fixture
def clip() -> Clip:
    """Four frames with times and spacing."""
    return make_clip()


@pytest.fixture
def masks() -> np.ndarray:
    """Random masks ``(4, 3, 20, 31)``; the last structure is nowhere."""
    masks = np.random.default_rng(0).random((4, 3, 20, 31)) > 0.5
    masks[:, 2] = False
    return masks
