"""Overlap of masks: the Dice coefficient, by MONAI."""

import torch
from monai.metrics import compute_dice
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
