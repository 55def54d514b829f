"""Timing and pixel spacing from a DICOM header, with where they come from."""

from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.valuerep import DT

MIXED_SPACING = 0.01  # relative difference from which pixels count as not square
INTENSITY_RELATIONSHIPS = ("LIN", "LOG", "DISP", "OTHER")


def find(dataset: Dataset, keyword: str, frame: int = 0) -> Any:
    """Value of an attribute, at the top level or in the functional groups of an enhanced object (PS3.3 C.7.6.16).

    The frame's own group goes before the shared one. None where there is no value.
    """
    if keyword in dataset:
        return dataset[keyword].value
    for group in functional_groups(dataset, frame):
        for element in group:
            if element.VR == "SQ" and element.value and keyword in element.value[0]:
                return element.value[0][keyword].value
    return None


def functional_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    """Functional groups that hold for a frame, its own first; empty for objects that are not enhanced."""
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    return own + list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]


def frame_times_ms(dataset: Dataset, num_frames: int, warnings: list[str]) -> tuple[np.ndarray | None, str]:
    """Times from the first frame: Frame Time Vector, Frame Time, Cine Rate, or Recommended Display Frame Rate.

    An enhanced object's Frame Reference or Acquisition DateTime goes before these rates. With them the keyword of what
    was used. None and "none", with a warning where the header is at fault, if none of them can be used: a rate is
    never invented.
    """
    vector = dataset.get("FrameTimeVector")
    if vector is not None and vector != "":
        steps = np.atleast_1d(np.asarray(vector, np.float64))
        if len(steps) == num_frames and (steps[1:] > 0).all():
            return np.cumsum(steps) - steps[0], "FrameTimeVector"
        warnings.append(f"FrameTimeVector is not usable: {len(steps)} values for {num_frames} frames, all must be > 0")
    for keyword in ("FrameReferenceDateTime", "FrameAcquisitionDateTime"):
        dated = _dated_times_ms(dataset, keyword, num_frames)
        if dated is not None:
            return dated, keyword
    for keyword in ("FrameTime", "CineRate", "RecommendedDisplayFrameRate"):
        step = _step_ms(dataset, keyword, warnings)
        if step is not None:
            return np.arange(num_frames, dtype=np.float64) * step, keyword
    return None, "none"


def pixel_spacing_mm(dataset: Dataset, warnings: list[str]) -> tuple[tuple[float, float] | None, str]:
    """Spacing of rows and columns, and its source in words.

    Pixel Spacing counts as calibrated if Pixel Spacing Calibration Type says so, or if it differs from Imager Pixel
    Spacing (PS3.3 10.7.1.3); where both agree it is the detector's. Enhanced XA has Object Pixel Spacing in Center of
    Beam instead, from a calibration of the projection (PS3.3 C.8.19.6.9).
    """
    pixel = _positive_pair(dataset, "PixelSpacing", warnings)
    imager = _positive_pair(dataset, "ImagerPixelSpacing", warnings)
    is_typed = find(dataset, "PixelSpacingCalibrationType") in ("GEOMETRY", "FIDUCIAL")
    if pixel and (is_typed or (imager and not np.allclose(pixel, imager, rtol=1e-3))):
        return pixel, "calibrated PixelSpacing"
    beam = _positive_pair(dataset, "ObjectPixelSpacingInCenterOfBeam", warnings)
    if beam:
        return beam, "ObjectPixelSpacingInCenterOfBeam: calibrated projection"
    if imager:
        return imager, "ImagerPixelSpacing: detector plane, magnified"
    if pixel:
        return pixel, "PixelSpacing: calibration not stated"
    return None, "none"


def is_synthetic(dataset: Dataset) -> bool:
    """Whether the header says so: Synthetic Data (0008,001C), PS3.3 C.12.1."""
    return bool(dataset.get("SyntheticData") == "YES")


def pixel_aspect(dataset: Dataset, warnings: list[str]) -> float:
    """Height of a pixel divided by its width: Pixel Aspect Ratio, or a spacing's; a warning where it is not 1."""
    keywords = ("PixelAspectRatio", "PixelSpacing", "ObjectPixelSpacingInCenterOfBeam", "ImagerPixelSpacing")
    ratio = next((value for value in (find(dataset, keyword) for keyword in keywords) if value), None)
    if not ratio or len(ratio) != 2 or not min(float(number) for number in ratio) > 0:
        return 1.0
    aspect = float(ratio[0]) / float(ratio[1])
    if abs(aspect - 1) <= MIXED_SPACING:
        return 1.0
    warnings.append(f"pixels are not square, {aspect:g} to 1 (height to width)")
    return aspect


def intensity_relationship(dataset: Dataset) -> str:
    """How values relate to X-ray intensity (PS3.3 C.8.7.1.1.2): LIN, LOG, DISP or OTHER; empty if not stated."""
    value = find(dataset, "PixelIntensityRelationship")
    if value in (None, ""):
        return ""
    return str(value) if value in INTENSITY_RELATIONSHIPS else "OTHER"


def _dated_times_ms(dataset: Dataset, keyword: str, num_frames: int) -> np.ndarray | None:
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    contents = [group.get("FrameContentSequence") for group in groups]
    dates = [DT(content[0].get(keyword)) for content in contents if content]
    if len(dates) != num_frames or not all(isinstance(date, datetime) for date in dates):
        return None
    times = np.array([(date - dates[0]).total_seconds() * 1000.0 for date in dates])
    return times if (np.diff(times) > 0).all() else None


def _step_ms(dataset: Dataset, keyword: str, warnings: list[str]) -> float | None:
    value = dataset.get(keyword)
    if value in (None, ""):
        return None
    if float(value) > 0:
        return float(value) if keyword == "FrameTime" else 1000.0 / float(value)
    warnings.append(f"{keyword} is {float(value):g}, which says nothing about time")
    return None


def _positive_pair(dataset: Dataset, keyword: str, warnings: list[str]) -> tuple[float, float] | None:
    value = find(dataset, keyword)
    if value in (None, ""):
        return None
    pair = [float(number) for number in np.atleast_1d(value)]
    if len(pair) == 2 and min(pair) > 0:
        return pair[0], pair[1]
    warnings.append(f"{keyword} is {pair}, not two positive numbers: not used")
    return None


def shutter_varies_by_frame(dataset: Dataset) -> bool:
    """Whether an enhanced object has a shutter of its own for every frame."""
    own = functional_groups(dataset, 0)[:1] if dataset.get("PerFrameFunctionalGroupsSequence") else []
    return any("FrameDisplayShutterSequence" in group for group in own)


def visible_pixels(dataset: Dataset, rows: int, columns: int, warnings: list[str], frame: int = 0) -> np.ndarray | None:
    """Pixels inside every shutter of a frame's header, bool ``(H, W)``; None without a shutter.

    The pixel on a shutter's edge is visible. A shutter that would hide every pixel is left out with a warning, and so
    is one of another shape than rectangular, circular and polygonal.
    """
    shapes = find(dataset, "ShutterShape", frame)
    if shapes in (None, ""):
        return None
    makers = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}
    visible = np.ones((rows, columns), bool)
    for shape in [shapes] if isinstance(shapes, str) else list(shapes):
        if shape in makers:
            visible &= makers[shape](dataset, rows, columns, frame)
        else:
            warnings.append("a shutter of a shape that is not read is left out")
    if not visible.any():
        warnings.append("the shutter hides every pixel: it is left out")
        return None
    return None if visible.all() else visible


def _rectangle(dataset: Dataset, rows: int, columns: int, frame: int) -> np.ndarray:
    left, right = (int(find(dataset, f"Shutter{side}VerticalEdge", frame)) for side in ("Left", "Right"))
    upper, lower = (int(find(dataset, f"Shutter{side}HorizontalEdge", frame)) for side in ("Upper", "Lower"))
    inside = np.zeros((rows, columns), bool)
    inside[max(0, upper - 1) : max(0, lower), max(0, left - 1) : max(0, right)] = True  # the header counts from 1
    return inside


def _circle(dataset: Dataset, rows: int, columns: int, frame: int) -> np.ndarray:
    row, column = (int(value) for value in find(dataset, "CenterOfCircularShutter", frame))
    radius = int(find(dataset, "RadiusOfCircularShutter", frame))
    distance = np.hypot(np.arange(rows)[:, None] - (row - 1), np.arange(columns)[None] - (column - 1))
    return distance <= radius


def _polygon(dataset: Dataset, rows: int, columns: int, frame: int) -> np.ndarray:
    corners = (
        np.array([int(value) for value in find(dataset, "VerticesOfThePolygonalShutter", frame)]).reshape(-1, 2) - 1
    )
    picture = Image.new("1", (columns, rows))
    ImageDraw.Draw(picture).polygon([(int(column), int(row)) for row, column in corners], fill=1, outline=1)
    return np.array(picture, bool)
