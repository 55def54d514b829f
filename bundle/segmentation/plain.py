"""Any network from frames to logits, trained by phase 2's config: how the baselines are trained."""

from torch import Tensor, nn


class PlainSegmenter(nn.Module):
    """Give a plain network phase 2's interface; prompts are not used, IoU and presence are not predicted.

    Args:
        network: From frames ``(B, 1, H, W)`` to logits ``(B, S, H, W)``, such as MONAI's ``BasicUNet`` or ``DynUNet``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, points: Tensor, point_labels: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """``masks``: the network's logits ``(B, S, H, W)``."""
        return {"masks": self.network(frames)}
