"""What a reader of the masks must know and the mask files cannot say; no file names, no patients."""

from collections.abc import Mapping, Sequence
from typing import Any

from bundle.data.clip import Clip
from bundle.metrics.kinematics.clip_masks import MaskFrames

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
        "rows": clip.shape.rows,
        "columns": clip.shape.columns,
        "pixel_aspect": round(clip.pixel_aspect, 6),
        "pixel_spacing_mm": None if spacing is None else [float(value) for value in spacing],
        "spacing_source": clip.spacing_source if spacing is not None else "none",
        "frame_times_ms": None if times is None else [round(float(time), 6) for time in times],
        "frame_times_source": clip.frame_times_source if times is not None else "none",
        "pixel_intensity_relationship": clip.pixel_intensity_relationship or "not stated",
        "geometry": NOMINAL_GEOMETRY,
    }


def check_masks(masks: MaskFrames, clip: Clip, structures: Sequence[str]) -> None:
    """Refuse masks that are not on the clip's grid or do not have one channel per structure."""
    expected = (clip.num_frames, len(structures), clip.shape.rows, clip.shape.columns)
    if tuple(masks.shape) != expected:
        raise ValueError(
            f"masks must be (T, S, H, W) = {expected} for this clip and {len(structures)} structures, "
            f"got {tuple(masks.shape)}"
        )
