"""A person's prompts: what they say in the frame's own pixels, and the segmenter's answer for one frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.segmentation.segmenter import ImageFeatures, Segmenter
from bundle.transforms.field_of_view import Window
from bundle.transforms.letterbox import LetterboxGeometry, letterbox, unletterbox

BOX_LABELS = (2, 3)
"""SAM's labels of a box's top left and bottom right corner."""


@dataclass(frozen=True)
class Prompt:
    """One structure in one frame, by points, a box (or both), or a mask.

    Coordinates are x (column) and y (row) of the frame's own pixels; whole numbers are pixels' centers.

    Attributes:
        structure: Its name.
        frame: Index of the frame, from 0.
        points: Points ``(x, y)``.
        point_labels: For each point 1 inside the structure, 0 outside.
        box: Left, top, right and bottom.
        mask: ``(H, W)``, as large as the frame, bool or 0 and 1; empty where the structure is not in the frame.
    """

    structure: str
    frame: int = 0
    points: Sequence[tuple[float, float]] = ()
    point_labels: Sequence[int] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.points) != len(self.point_labels) or not set(self.point_labels) <= {0, 1}:
            raise ValueError(
                f"every point needs a label, 1 inside or 0 outside, got {len(self.points)} points and labels "
                f"{list(self.point_labels)}"
            )
        is_drawn = bool(self.points) or self.box is not None
        if is_drawn == (self.mask is not None):
            raise ValueError(f"a prompt for {self.structure!r} needs points, a box or both; or else a mask")
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(f"a box is left, top, right, bottom, got {tuple(self.box)}")

    def check(self, structures: Sequence[str], num_frames: int, rows: int, columns: int) -> None:
        """Refuse a structure, frame, point, box or mask that is not in a clip of so many frames, rows and columns."""
        if self.structure not in structures:
            raise ValueError(f"structure must be one of {list(structures)}, got {self.structure!r}")
        if not 0 <= self.frame < num_frames:
            raise ValueError(f"the clip has {num_frames} frames, frame {self.frame} (counted from 0) is prompted")
        corners = [] if self.box is None else [self.box[:2], self.box[2:]]
        for x, y in [*self.points, *corners]:
            if not (-0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5):
                raise ValueError(
                    f"points and boxes must lie in the frame of {rows} rows x {columns} columns, got x {x}, y {y}"
                )
        if self.mask is not None and tuple(self.mask.shape) != (rows, columns):
            raise ValueError(f"a mask must be as large as the frame, {(rows, columns)}, got {tuple(self.mask.shape)}")

    def within(self, window: Window) -> "Prompt":
        """The same prompt in the pixels of a part of the frame. What lies beside the part counts as at its edge.

        Raises:
            ValueError: If nothing of the box is in it.
        """
        rows, columns = window.bottom - window.top, window.right - window.left

        def moved(x: float, y: float) -> tuple[float, float]:
            return min(max(x - window.left, 0), columns - 1), min(max(y - window.top, 0), rows - 1)

        box = None if self.box is None else (*moved(*self.box[:2]), *moved(*self.box[2:]))
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(
                f"the box is beside the picture, which is rows {window.top} to {window.bottom}, "
                f"columns {window.left} to {window.right} of the frame"
            )
        mask = None if self.mask is None else self.mask[window.slices()]
        return replace(self, points=[moved(x, y) for x, y in self.points], box=box, mask=mask)

    def sam_points(self, geometry: LetterboxGeometry) -> tuple[Tensor, Tensor]:
        """Points ``(1, N, 2)`` in the letterbox's pixels and labels ``(1, N)``, as SAM 2 takes them: the box first."""
        corners = [] if self.box is None else [self.box[:2], self.box[2:]]
        points = torch.tensor([*corners, *self.points], dtype=torch.float32).reshape(1, -1, 2)
        labels = torch.tensor([[*BOX_LABELS[: len(corners)], *self.point_labels]], dtype=torch.int32)
        scale = torch.tensor(geometry.scale[::-1])
        return (points + 0.5) * scale - 0.5, labels

    def sam_mask(self, geometry: LetterboxGeometry) -> Tensor | None:
        """The mask ``(size, size)`` in the letterbox."""
        if self.mask is None:
            return None
        return letterbox(torch.as_tensor(self.mask).bool()[None], geometry.size, geometry.pixel_aspect)[0][0]


class EncodedFrame(NamedTuple):
    """A frame that was encoded once, to be asked many times."""

    features: ImageFeatures
    """Of the letterboxed frame, on the segmenter's device."""
    geometry: LetterboxGeometry
    """How the frame lies in the network's square."""


class PromptedMask(NamedTuple):
    """The answer to a prompt."""

    mask: Tensor
    """``bool (H, W)``, on the frame's own pixels."""
    iou: float
    """The decoder's own estimate of its intersection over union, in [0, 1]."""
    logits: Tensor
    """``(1, 1, size/4, size/4)``: give it back with the next prompt, which then corrects it."""


@torch.inference_mode()
def encode_frame(segmenter: Segmenter, frame: Tensor, pixel_aspect: float = 1.0) -> EncodedFrame:
    """Encode one grayscale frame ``(1, H, W)`` in [0, 1], of any size, for :func:`answer_prompt`.

    ``pixel_aspect`` is the height of its pixels divided by their width; the segmenter is in evaluation mode.
    """
    if frame.ndim != 3 or frame.shape[0] != 1:
        raise ValueError(f"frame must be grayscale (1, H, W), got {tuple(frame.shape)}")
    device = next(segmenter.parameters()).device
    square, geometry = letterbox(frame[None].to(device), segmenter.image_size, pixel_aspect)
    return EncodedFrame(segmenter.encode(square), geometry)


@torch.inference_mode()
def answer_prompt(
    segmenter: Segmenter, encoded: EncodedFrame, prompt: Prompt, earlier: Tensor | None = None
) -> PromptedMask:
    """The mask that a prompt means; of three candidates for a single point, the one with the highest estimated IoU.

    Args:
        segmenter: The one that encoded the frame.
        encoded: The frame; ``prompt.frame`` is 0, since there is only one.
        prompt: Points, a box, or a mask to be redrawn. A mask, like ``earlier``, is read by a part of the prompt
            encoder that phase 2 does not train.
        earlier: ``logits`` of the answer that this prompt corrects; not with a mask.
    """
    geometry = encoded.geometry
    prompt.check(segmenter.structures, 1, geometry.rows, geometry.columns)
    device = encoded.features.embedding.device
    points, labels = (part.to(device) for part in prompt.sam_points(geometry))
    mask = prompt.sam_mask(geometry)
    if mask is not None:
        earlier = mask_logits(mask.to(device))
    output = segmenter.decode_prompts(encoded.features, points, labels, earlier)
    candidates = slice(1, None) if labels.shape[1] == 1 and earlier is None else slice(0, 1)
    best = int(output.iou[0, candidates].argmax())
    logits = output.masks[:, candidates][:, best : best + 1]
    return PromptedMask(full_size_mask(logits, geometry), float(output.iou[0, candidates][best]), logits)


def mask_logits(mask: Tensor) -> Tensor:  # bool (size, size) -> (1, 1, size/4, size/4)
    """A mask as logits of -10 and 10 at a quarter of its side, as SAM 2 writes a mask that it is given."""
    size = (mask.shape[-2] // 4, mask.shape[-1] // 4)
    values = mask.float()[None, None] * 20.0 - 10.0
    return F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=True)


def full_size_mask(logits: Tensor, geometry: LetterboxGeometry) -> Tensor:
    """Logits ``(1, 1, size/4, size/4)`` as a mask ``bool (H, W)``, interpolated twice as automatic masks are."""
    square = F.interpolate(logits.float(), (geometry.size,) * 2, mode="bilinear", align_corners=False)
    return unletterbox(square, geometry)[0, 0] > 0
