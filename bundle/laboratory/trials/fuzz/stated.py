"""What a header says about a clip's size, read by other code than the readers', against the clip."""

import gzip
import re
import struct
import warnings
from pathlib import Path

import pydicom

from bundle.data.clip import Clip, ClipShape, UnreadableStudyError
from bundle.data.readers import probe_clip

TOLD = re.compile(r"header says|cut off|damaged|left out|dropped|first is read")
TURNED = re.compile(r"turned|mirrored")


def contradiction(path: Path, clip: Clip) -> str:
    """How a clip differs from its header without a warning, in words; empty if it does not."""
    got = clip.shape
    try:
        stated = [("probe_clip", probe_clip(path))]
    except UnreadableStudyError as error:
        return f"read, but its header is refused: {error.reason}"
    is_turned = any(TURNED.search(note) for note in clip.warnings)
    by_hand = stated_shape(path)
    if by_hand is not None and not is_turned:
        stated.append(("the header", by_hand))
    is_told = any(TOLD.search(note) for note in clip.warnings)
    for source, shape in stated:
        if (shape.rows, shape.columns) != (got.rows, got.columns):
            return f"{source} says {shape}, read {got}"
        if shape.num_frames != got.num_frames and not is_told:
            return f"{source} says {shape}, read {got} without a warning"
    return ""


def stated_shape(path: Path) -> ClipShape | None:
    """Size by the header of a DICOM, PNG or NIfTI file; None for others, whose headers only FFmpeg or Pillow parse."""
    name = path.name.lower()
    if name.endswith(".dcm"):
        return _dicom_shape(path)
    if name.endswith(".png"):
        columns, rows = struct.unpack(">II", path.read_bytes()[16:24])  # PNG 11.2.2: IHDR
        return ClipShape(1, rows, columns)
    if name.endswith((".nii", ".nii.gz")):
        return _nifti_shape(path)
    return None


def _dicom_shape(path: Path) -> ClipShape:
    tags = ["NumberOfFrames", "Rows", "Columns"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damage, which is meant
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)
        return ClipShape(int(header.get("NumberOfFrames") or 1), int(header.Rows), int(header.Columns))


def _nifti_shape(path: Path) -> ClipShape | None:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(348)
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", head)[0] == 348), None)
    if order is None:  # NIfTI-2
        return None
    num_axes, *sizes = struct.unpack_from(f"{order}8h", head, 40)
    columns, rows, *others = sizes[:num_axes]
    num_frames = 1
    for size in others:
        num_frames *= size
    return ClipShape(num_frames, rows, columns)
