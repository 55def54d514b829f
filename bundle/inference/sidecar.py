"""What a reader of the masks must know and the mask files cannot say; no file names, no patients."""

from collections.abc import Mapping, Sequence
from typing import Any

from bundle.data.clip import Clip

INTENDED_USE = "research use only, not for diagnosis"
NOMINAL_GEOMETRY = "a projection has no position in the patient: origin and orientation are nominal"


def describe_masks(clip: Clip, structures: Sequence[str], model: Mapping[str, str]) -> dict[str, Any]:
    """Plain values for JSON.

    Args:
        clip: What was segmented.
        structures: Names of the channels, in order.
        model: Name and version of what made the masks.
    """
    spacing, times = clip.pixel_spacing_mm, clip.frame_times_ms
    return {
        "content": "automatic segmentation masks",
        "intended_use": INTENDED_USE,
        "model": dict(model),
        "structures": [{"index": index, "name": name} for index, name in enumerate(structures)],
        "num_frames": clip.num_frames,
        "rows": int(clip.frames.shape[2]),
        "columns": int(clip.frames.shape[3]),
        "pixel_spacing_mm": None if spacing is None else [float(value) for value in spacing],
        "spacing_source": clip.spacing_source if spacing is not None else "none",
        "frame_times_ms": None if times is None else [round(float(time), 6) for time in times],
        "geometry": NOMINAL_GEOMETRY,
    }


def check_masks(masks: Any, clip: Clip, structures: Sequence[str]) -> None:
    """Refuse masks that are not on the clip's grid or do not have one channel per structure."""
    num_frames, _, rows, columns = clip.frames.shape
    expected = (num_frames, len(structures), rows, columns)
    if tuple(masks.shape) != expected:
        raise ValueError(
            f"masks must be (T, S, H, W) = {expected} for this clip and {len(structures)} structures, "
            f"got {tuple(masks.shape)}"
        )
