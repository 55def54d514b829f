"""A person's prompts for a structure whose name is known: its automatic mask, changed where they contradict it."""

from math import floor

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.segmentation.prompting import EncodedFrame, Prompt, PromptedMask, answer_prompt, full_size_mask
from bundle.segmentation.segmenter import ImageFeatures, Segmenter
from bundle.transforms.letterbox import LetterboxGeometry

MARGIN = 2.0
"""Logit of a pixel about which a person has spoken, at least: a probability of 0.88."""

REACH = 1 / 16
"""How far a click is felt: standard deviation of a Gaussian, as a share of the network's square."""

LIKENESS = 4
"""Power of the cosine of two places' features: the larger, the more alike a place must be to go with a click."""

RIDGE = 0.05
"""What two clicks that contradict each other at one place cost."""


@torch.inference_mode()
def answer_by_name(segmenter: Segmenter, encoded: EncodedFrame, prompt: Prompt) -> PromptedMask:
    """The mask that points or a box mean for a named structure.

    Points change the automatic mask's logits as Gaussian-process regression would: so much that each point is where its
    label says, and around it where the frame looks alike, by distance and by the cosine of the student's features. A
    box cuts off what is outside it; if it cuts off everything, SAM 2's decoder answers it, without the name. Nothing of
    this is trained.

    Args:
        segmenter: The one that encoded the frame, in evaluation mode.
        encoded: The frame; ``prompt.frame`` is 0, since there is only one.
        prompt: All points on the structure so far, a box, or both; no mask.
    """
    geometry = encoded.geometry
    prompt.check(segmenter.structures, 1, geometry.rows, geometry.columns)
    if prompt.mask is not None:
        raise ValueError("a mask needs no answer: give points or a box")
    output = segmenter.decode_structures(encoded.features)
    channel = segmenter.structures.index(prompt.structure)
    logits, iou = output.masks[0, channel], float(output.iou[0, channel])
    if prompt.box is None and 1 not in prompt.point_labels:  # nobody says that the structure is in the frame
        logits = torch.minimum(logits, output.presence[0, channel])
    if prompt.box is not None:
        inside = _cells_in_box(prompt, geometry, logits)
        if not (logits[inside] > 0).any():
            nameless = answer_prompt(segmenter, encoded, prompt)
            logits, iou = nameless.logits[0, 0], nameless.iou
        logits = torch.where(inside, logits, logits.clamp(max=-MARGIN))
    if prompt.points:
        logits = _with_points(logits, encoded.features, prompt, geometry)
    return PromptedMask(full_size_mask(logits[None, None], geometry), iou, logits[None, None])


def _with_points(logits: Tensor, features: ImageFeatures, prompt: Prompt, geometry: LetterboxGeometry) -> Tensor:
    spots = _spots(prompt, geometry, logits)
    columns, rows = spots.round().long().clamp(0, logits.shape[-1] - 1).unbind(-1)
    kernels = _kernels(features, rows, columns, logits.shape[-1])
    signs = torch.tensor(prompt.point_labels, device=logits.device) * 2.0 - 1.0
    now = logits[rows, columns]
    wanted = signs * (signs * now).clamp(min=MARGIN)
    between = kernels[:, rows, columns] + RIDGE * torch.eye(len(rows), device=logits.device)
    weights = torch.linalg.solve(between, wanted - now)
    changed = logits + torch.einsum("n,nhw->hw", weights, kernels)
    # The cells from which a point's pixel is interpolated: many where the frame is coarser than the mask's grid.
    far_y, far_x = (max(1.0, scale) * logits.shape[-1] / geometry.size for scale in geometry.scale)
    for (x, y), sign in zip(spots.tolist(), signs.tolist(), strict=True):
        cells = (_between(y - far_y, y + far_y), _between(x - far_x, x + far_x))
        changed[cells] = sign * (sign * changed[cells]).clamp(min=MARGIN)
    return changed


def _between(low: float, high: float) -> slice:
    """Cells that places from ``low`` to ``high`` are interpolated from."""
    return slice(max(0, floor(low)), max(0, floor(high) + 2))


def _kernels(features: ImageFeatures, rows: Tensor, columns: Tensor, grid: int) -> Tensor:  # (N, grid, grid)
    """How much every place goes with each of some cells, 1 at the cell itself."""
    coarse = F.interpolate(features.embedding, (grid, grid), mode="bilinear", align_corners=False)[0]
    look = F.normalize(torch.cat([_scaled(features.high_res_features[0][0]), _scaled(coarse)]), dim=0)
    likeness = torch.einsum("chw,cn->nhw", look, look[:, rows, columns]).clamp(min=0) ** LIKENESS
    place = torch.arange(grid, device=rows.device)
    squares = (place[:, None] - rows[:, None, None]) ** 2 + (place - columns[:, None, None]) ** 2
    return likeness * torch.exp(-squares / (2 * (REACH * grid) ** 2))


def _scaled(features: Tensor) -> Tensor:  # (C, h, w)
    """Each channel with mean 0 and standard deviation 1; all of them weigh as much as one."""
    centered = features - features.mean(dim=(1, 2), keepdim=True)
    return centered / (features.std(dim=(1, 2), keepdim=True) + 1e-6) / len(features) ** 0.5


def _spots(prompt: Prompt, geometry: LetterboxGeometry, logits: Tensor) -> Tensor:
    """Points ``(N, 2)``, x and y on the logits' grid, whole numbers at its cells' centers."""
    points, labels = prompt.sam_points(geometry)
    on_square = points[0, labels[0] < 2].to(logits.device)  # SAM's labels above are a box's corners
    return (on_square + 0.5) * logits.shape[-1] / geometry.size - 0.5


def _cells_in_box(prompt: Prompt, geometry: LetterboxGeometry, logits: Tensor) -> Tensor:
    points, _ = prompt.sam_points(geometry)
    grid = logits.shape[-1]
    (left, top), (right, bottom) = ((points[0, :2] + 0.5) * grid / geometry.size).tolist()
    center = torch.arange(grid, device=logits.device) + 0.5
    inside_rows, inside_columns = (
        (center > low - 0.5) & (center < high + 0.5) for low, high in ((top, bottom), (left, right))
    )
    return inside_rows[:, None] & inside_columns
