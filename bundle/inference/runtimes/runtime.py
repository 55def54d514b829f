"""One interface for every runtime: frames in, logits out, whatever computes them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Engine = Callable[[Tensor], Tensor]
"""Frames ``(B, 1, size, size)`` float32 to logits at stride 4 ``(B, S, size/4, size/4)`` float32, both on the CPU."""


class Runtime(nn.Module):
    """A segmenter that a runtime computes: called like ``Segmenter``, and without parameters.

    :meth:`coarse` is the fast way: what the runtime itself gives, a sixteenth of the full-size logits, from which
    ``MaskEnlarger`` makes masks of any size. ``forward`` enlarges it as ``Segmenter.forward`` does, outside the graph.
    One thread may call it while others do other things; no two threads at once.

    Args:
        engine: Computes the logits at stride 4.
        image_size: Side of the frames that it takes.
        name: Of the runtime, such as "openvino".
        precision: What it computes in, such as "int8".
    """

    def __init__(self, engine: Engine, image_size: int, name: str, precision: str) -> None:
        super().__init__()
        self.engine = engine
        self.image_size = image_size
        self.name = name
        self.precision = precision

    def coarse(self, frames: Tensor) -> Tensor:
        """Logits before they are enlarged.

        Args:
            frames: Letterboxed grayscale frames ``(B, 1, image_size, image_size)`` in [0, 1].

        Returns:
            Logits ``(B, S, image_size/4, image_size/4)`` float32, limited by presence, on the CPU.

        Raises:
            ValueError: If the frames have another shape.
        """
        expected = (1, self.image_size, self.image_size)
        if frames.ndim != 4 or tuple(frames.shape[1:]) != expected or not len(frames):
            raise ValueError(
                f"this runtime takes frames (B, {', '.join(map(str, expected))}), got {tuple(frames.shape)}"
            )
        with torch.inference_mode():
            return self.engine(frames.as_subclass(Tensor).to(torch.float32))

    def forward(self, frames: Tensor) -> Tensor:
        """Logits ``(B, S, image_size, image_size)`` of frames ``(B, 1, image_size, image_size)`` in [0, 1]."""
        size = (self.image_size, self.image_size)
        return F.interpolate(self.coarse(frames), size=size, mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        """Runtime and precision, for logs."""
        return f"{self.name}, {self.precision}, frames of {self.image_size} x {self.image_size}"
