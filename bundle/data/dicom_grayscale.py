"""From stored values to display values, in the order of PS3.3 C.11: modality LUT, VOI LUT, MONOCHROME1."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi

from bundle.data.clip import apply_limits, percentile_window
from bundle.data.dicom_header import find
from bundle.data.stills import GREY_TOLERANCE, colour_warning, luminance


def to_display(stored: np.ndarray, dataset: Dataset, warnings: list[str]) -> np.ndarray:
    """Map stored values ``(T, H, W)`` to float32 in [0, 1], bright = many X-rays.

    Captures (RGB, YBR) hold display values already. Without a window or VOI LUT, percentiles serve, and a warning
    says so.

    Raises:
        ValueError: If the window's width is 0, or the photometric interpretation is unknown.
    """
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric.startswith(("RGB", "YBR")):
        return apply_limits(stored, 0.0, 2.0 ** int(dataset.BitsStored) - 1)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"PhotometricInterpretation must be MONOCHROME1, MONOCHROME2, RGB or YBR, got '{photometric}'")
    frames = _apply_voi(_apply_modality_lut(stored, dataset), dataset, warnings)
    return np.subtract(1.0, frames, out=frames) if photometric == "MONOCHROME1" else frames


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Apply a VOI window, PS3.3 C.11.2.1.2 and C.11.2.1.3, to [0, 1].

    Raises:
        ValueError: If the width is not positive (for LINEAR: below 1), or the function is unknown.
    """
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"WindowWidth must be at least 1 for LINEAR and positive otherwise, got {width:g}")
    if function == "LINEAR":
        half = (width - 1.0) / 2.0
        return apply_limits(values, center - 0.5 - half, center - 0.5 + half) if half else _step(values, center - 0.5)
    if function == "LINEAR_EXACT":
        return apply_limits(values, center - width / 2.0, center + width / 2.0)
    if function == "SIGMOID":
        return (1.0 / (1.0 + np.exp(-4.0 * (values.astype(np.float32) - center) / width))).astype(np.float32)
    raise ValueError(f"VOILUTFunction must be LINEAR, LINEAR_EXACT or SIGMOID, got '{function}'")


def color_to_grey(frame: np.ndarray, warnings: list[str]) -> np.ndarray:  # (H, W) or (H, W, 3) -> (H, W)
    """Luminance of a colour capture; a warning unless red, green and blue agree."""
    if frame.ndim == 2:
        return frame
    tolerance = GREY_TOLERANCE * (256 if frame.dtype.itemsize > 1 else 1)
    coloured = float((np.ptp(frame.astype(np.int32), axis=-1) > tolerance).mean())
    if coloured and not any(note.startswith("coloured pixels") for note in warnings):
        warnings.append(colour_warning(coloured))
    return luminance(frame)


def _step(values: np.ndarray, edge: float) -> np.ndarray:
    return (values > edge).astype(np.float32)


def _apply_modality_lut(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    if "ModalityLUTSequence" in dataset:
        return apply_modality_lut(stored, dataset)
    slope, intercept = find(dataset, "RescaleSlope"), find(dataset, "RescaleIntercept")
    if slope is None:
        return stored
    slope, intercept = float(slope), float(intercept or 0.0)
    if slope == 1.0 and intercept == 0.0:
        return stored
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _apply_voi(values: np.ndarray, dataset: Dataset, warnings: list[str]) -> np.ndarray:
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return apply_limits(apply_voi(values, dataset), 0.0, 2.0**bits - 1.0)
    center, width = _first(find(dataset, "WindowCenter")), _first(find(dataset, "WindowWidth"))
    if center is not None and width is not None:
        return window(values, center, width, str(find(dataset, "VOILUTFunction") or "LINEAR"))
    lower, upper = percentile_window(values)
    warnings.append(f"no window in the header: percentiles 0.5-99.5 used, {lower:g} to {upper:g}")
    return apply_limits(values, lower, upper)


def _first(value: object) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        return float(value)
    values = list(value)  # type: ignore[call-overload]  # pydicom's MultiValue
    return float(values[0]) if values else None
