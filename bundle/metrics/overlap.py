"""How well masks agree with labels: the Dice coefficient, and the 95th percentile of the Hausdorff distance, by MONAI.

The distance is that of ``monai.metrics.compute_hausdorff_distance(percentile=95)``; cropping here is plain slicing
instead of MONAI's dictionary transform, which is slow on the small structures of a frame.
"""

import numpy as np
import torch
from monai.metrics import compute_dice
from monai.metrics.utils import get_surface_distance
from scipy.ndimage import binary_erosion
from torch import Tensor


def dice(pred: Tensor, label: Tensor) -> Tensor:
    """Dice coefficient of every structure in every frame.

    Args:
        pred: Binary masks ``(B, S, H, W)``.
        label: Binary masks ``(B, S, H, W)``, on the same grid.

    Returns:
        ``(B, S)`` in [0, 1]; NaN where the label is empty, 0 where only the prediction is.

    Raises:
        ValueError: If the shapes differ or a value is neither 0 nor 1.
    """
    pred, label = check_masks(pred, label)
    return compute_dice(pred.float(), label.float(), include_background=True, ignore_empty=True)


def check_masks(pred: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Both masks as ``bool``, after checking that they can be compared."""
    if pred.ndim != 4 or pred.shape != label.shape:
        raise ValueError(
            f"pred and label must be masks (B, S, H, W) on one grid, got {tuple(pred.shape)} and {tuple(label.shape)}"
        )
    return _as_bool(pred, "pred"), _as_bool(label, "label")


def _as_bool(masks: Tensor, name: str) -> Tensor:
    if masks.dtype != torch.bool and not bool(((masks == 0) | (masks == 1)).all()):
        low, high = float(masks.min()), float(masks.max())
        raise ValueError(f"{name} must hold 0 and 1 only, got values in [{low:g}, {high:g}]: threshold it first")
    return masks.bool()


PERCENTILE = 95


def hausdorff_95(pred: Tensor, label: Tensor, pixel_spacing_mm: Tensor | None = None) -> Tensor:
    """95th percentile of the symmetric Hausdorff distance of every structure in every frame.

    Args:
        pred: Binary masks ``(B, S, H, W)``.
        label: Binary masks ``(B, S, H, W)``, on the same grid.
        pixel_spacing_mm: Row and column spacing of that grid ``(B, 2)``. None: distances in pixels.

    Returns:
        Distances ``(B, S)`` in millimeters, or in pixels without a spacing; NaN where either mask is empty.

    Raises:
        ValueError: If the shapes differ, a value is neither 0 nor 1, or a spacing is not positive.
    """
    pred, label = check_masks(pred, label)
    spacing = _check_spacing(pixel_spacing_mm, len(pred))
    pred_masks, label_masks = pred.cpu().numpy(), label.cpu().numpy()
    distances = torch.full(pred.shape[:2], torch.nan)
    for b, s in np.ndindex(*pred.shape[:2]):
        if pred_masks[b, s].any() and label_masks[b, s].any():
            distances[b, s] = _hausdorff_95(pred_masks[b, s], label_masks[b, s], spacing[b])
    return distances


def _check_spacing(pixel_spacing_mm: Tensor | None, num_frames: int) -> list[tuple[float, float]]:
    if pixel_spacing_mm is None:
        return [(1.0, 1.0)] * num_frames
    spacing = torch.as_tensor(pixel_spacing_mm, dtype=torch.float64)
    if spacing.shape != (num_frames, 2):
        raise ValueError(f"pixel_spacing_mm must be ({num_frames}, 2), rows and columns, got {tuple(spacing.shape)}")
    if not bool((spacing > 0).all() and spacing.isfinite().all()):
        raise ValueError(f"pixel_spacing_mm must be positive and finite, got {spacing.tolist()}; unknown: pass None")
    return [(float(rows), float(columns)) for rows, columns in spacing]


def _hausdorff_95(pred: np.ndarray, label: np.ndarray, spacing: tuple[float, float]) -> Tensor:
    either = pred | label
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    pred_edge, label_edge = _edge(pred[box]), _edge(label[box])
    directed = (
        get_surface_distance(pred_edge, label_edge, spacing=spacing),
        get_surface_distance(label_edge, pred_edge, spacing=spacing),
    )
    return max(torch.quantile(torch.as_tensor(distances), PERCENTILE / 100) for distances in directed)


def _edge(mask: np.ndarray) -> np.ndarray:
    # Outside the box, as outside the frame, there is no structure: erosion's border value is 0.
    return mask & ~binary_erosion(mask)
