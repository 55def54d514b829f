"""What leaves an exported graph: logits at stride 4, or masks, beside the segmenter's own full-size logits.

Twelve structures of a 512 x 512 frame are 12.6 MB as full-size float logits (``Segmenter`` itself), 3.1 MB as masks and
0.8 MB as logits at stride 4, from which masks of any size follow. Normalisation and the limit by presence are inside.
"""

import math

import torch
from torch import Tensor, nn

from bundle.segmentation.segmenter import Segmenter


class CoarseLogits(nn.Module):
    """A segmenter's logits before they are enlarged.

    Args:
        segmenter: Used, not copied.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, H, W) in [0, 1] -> (B, S, H/4, W/4)
        output = self.segmenter.decode_structures(self.segmenter.encode(frames))
        return torch.minimum(output.masks, output.presence[:, :, None, None])


class BinaryMasks(nn.Module):
    """A segmenter's masks, thresholded inside the graph.

    Args:
        segmenter: Used, not copied.
        threshold: Probability above which a pixel belongs to a structure, between 0 and 1.

    Raises:
        ValueError: If the threshold is not between 0 and 1.
    """

    def __init__(self, segmenter: Segmenter, threshold: float = 0.5) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.limit = logit_of(threshold)

    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, H, W) in [0, 1] -> (B, S, H, W), 0 or 1
        return (self.segmenter(frames) > self.limit).to(torch.uint8)


def logit_of(threshold: float) -> float:
    """The logit that stands for a probability.

    Raises:
        ValueError: If it is not between 0 and 1.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be a probability between 0 and 1, got {threshold}")
    return math.log(threshold / (1 - threshold))
