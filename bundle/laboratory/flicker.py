"""How masks behave over time: how much they change from frame to frame beyond the truth.

Without labels, video segmentation measures temporal consistency as the overlap of a frame's masks with the previous
frame's, moved by optical flow (arXiv 2002.11433, section 4.1). Here the truth is known in every frame, so that its own
change takes the place of the flow.
"""

import torch
from torch import Tensor

from bundle.metrics.overlap import check_masks


def frame_change(masks: Tensor) -> Tensor:
    """Change between neighboring frames of binary masks ``(T, S, H, W)``: 1 - Dice of a mask and the next one.

    Returns:
        ``(T - 1, S)`` in [0, 1]: 0 where both masks are empty, 1 where one is.

    Raises:
        ValueError: If there are fewer than two frames, or a value is neither 0 nor 1.
    """
    if masks.ndim != 4 or len(masks) < 2:
        raise ValueError(f"a change needs masks (T, S, H, W) of two frames or more, got {tuple(masks.shape)}")
    checked, _ = check_masks(masks, masks)
    pixels = checked.flatten(2)
    both = torch.count_nonzero(pixels[:-1] & pixels[1:], dim=-1)
    areas = torch.count_nonzero(pixels, dim=-1)
    total = areas[:-1] + areas[1:]
    return torch.where(total > 0, 1 - 2 * both / total.clamp_min(1), torch.zeros(()))


def flicker(pred: Tensor, label: Tensor) -> Tensor:
    """Mean change between neighboring frames of masks ``(T, S, H, W)``, the prediction's beyond the truth's.

    Returns:
        ``(S,)`` in [-1, 1]: above 0 the prediction changes more than the truth, which one sees as flicker; below 0 it
        changes less, as a mask that is repeated does. NaN where prediction and label are empty throughout.

    Raises:
        ValueError: If the shapes differ or there are fewer than two frames.
    """
    pred, label = check_masks(pred, label)
    excess = (frame_change(pred) - frame_change(label)).mean(dim=0)
    is_there = (pred | label).flatten(2).any(-1).any(0)
    return torch.where(is_there, excess, torch.nan)


def area_flicker(pred: Tensor, label: Tensor) -> Tensor:
    """Mean error of the area's change between neighboring frames, as a share of the structure's mean true area.

    Returns:
        ``(S,)``, 0 or more; NaN where the label is empty throughout.

    Raises:
        ValueError: If the shapes differ or there are fewer than two frames.
    """
    pred, label = check_masks(pred, label)
    if len(pred) < 2:
        raise ValueError(f"a change needs two frames or more, got {len(pred)}")
    areas = [masks.flatten(2).sum(-1).float() for masks in (pred, label)]  # 2 x (T, S)
    error = (areas[0].diff(dim=0) - areas[1].diff(dim=0)).abs().mean(dim=0)
    mean_area = areas[1].mean(dim=0)
    return torch.where(mean_area > 0, error / mean_area.clamp_min(1e-6), torch.nan)
