"""Masks as NIfTI ``(X, Y, 1, T, S)``, with a JSON sidecar."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener

from bundle.atomic import atomic_path, write_json
from bundle.data.clip import Clip
from bundle.inference.sidecar import check_masks, describe_masks
from bundle.metrics.kinematics.clip_masks import MaskFrames

MOST_FRAMES = 32767
"""NIfTI-1 keeps the length of an axis in a signed number of 16 bits."""

NO_EXTENSION = bytes(4)


def write_nifti(
    masks: MaskFrames, clip: Clip, structures: Sequence[str], path: str | Path, model: Mapping[str, str] | None = None
) -> list[Path]:
    """Write masks, uint8 0 or 1, in stored order: X is the column, Y the row from the top.

    Pixel size is the clip's in mm and the time step its mean interval in s; where the clip has none, a pixel
    is 1 wide and the unit is "unknown". Masks are taken one at a time.

    Args:
        masks: ``(T, S, H, W)``, 0 or 1.
        clip: What was segmented.
        structures: Names of the channels, in order.
        path: File that ends in .nii.gz; the sidecar beside it ends in .json.
        model: Name and version of what made the masks, for the sidecar.

    Returns:
        The image's and the sidecar's path.

    Raises:
        ValueError: If the masks do not fit the clip, are more than ``MOST_FRAMES``, or the file does not end in
            .nii.gz.
    """
    path = Path(path)
    if not path.name.endswith(".nii.gz"):
        raise ValueError(f"path must end in .nii.gz, got {path.name}")
    check_masks(masks, clip, structures)
    if clip.num_frames > MOST_FRAMES:
        raise ValueError(f"NIfTI has {MOST_FRAMES} frames at most, got {clip.num_frames}: cut the film")
    with atomic_path(path) as temporary, Opener(str(temporary), "wb") as file:
        file.write(_header(clip, len(structures)).binaryblock + NO_EXTENSION)
        for structure in range(len(structures)):
            for frame in range(clip.num_frames):
                file.write(np.asarray(masks[frame, structure], np.uint8).tobytes())
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    axes = {"axes": "(X, Y, 1, T, S): column, row from the top, -, frame, structure"}
    return [path, write_json(sidecar, {**describe_masks(clip, structures, model or {}), **axes})]


def mean_interval_ms(clip: Clip) -> float | None:
    """Mean time between frames; None where the clip has no times or one frame."""
    times = clip.frame_times_ms
    if times is None or len(times) < 2 or times[-1] <= times[0]:
        return None
    return float(times[-1] - times[0]) / (len(times) - 1)


def _header(clip: Clip, num_structures: int) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((clip.shape.columns, clip.shape.rows, 1, clip.num_frames, num_structures))
    header.set_data_offset(len(header.binaryblock) + len(NO_EXTENSION))
    header.set_slope_inter(1, 0)
    _set_geometry(header, clip)
    return header


def _set_geometry(header: nib.Nifti1Header, clip: Clip) -> None:
    rows, columns = clip.pixel_spacing_mm or (clip.pixel_aspect, 1.0)
    interval = mean_interval_ms(clip)
    header.set_zooms((columns, rows, 1.0, 1.0 if interval is None else interval / 1000, 1.0))
    # x to the patient's left and y down, as 2-D viewers show an image without a stated orientation.
    header.set_sform(np.diag([-columns, -rows, 1.0, 1.0]), code="unknown")
    header.set_qform(np.diag([-columns, -rows, 1.0, 1.0]), code="unknown")
    header.set_xyzt_units("mm" if clip.pixel_spacing_mm else "unknown", "sec" if interval else "unknown")
    header["descrip"] = b"automatic masks, research use only"
