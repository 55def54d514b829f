"""Back from standardized features to a teacher's own units: what phase 1 saves beside its projection heads."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def with_inverses(heads: nn.ModuleDict, standardizers: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """What ``heads.pt`` holds: ``heads`` as they are, and under ``inverse`` one :func:`inverse_layer` per teacher.

    Args:
        heads: Projection heads by teacher.
        standardizers: Of the same teachers.
    """
    layers = {name: inverse_layer(standardizers[name], head.project[-1].out_channels) for name, head in heads.items()}  # type: ignore[index, union-attr]
    return nn.ModuleDict({"heads": heads, "inverse": nn.ModuleDict(layers)})


@torch.no_grad()
def inverse_layer(standardizer: nn.Module, num_channels: int) -> nn.Conv2d:
    """A standardizer's inverse as a frozen 1 x 1 convolution: every kind is affine in a token's channels.

    So a trained head goes with the very standardizer that it was trained for, whose eigenvectors have no fixed sign.

    Args:
        standardizer: Of :mod:`bundle.losses.standardize`.
        num_channels: Of its features.
    """
    device = next(standardizer.buffers()).device
    tokens = torch.cat([torch.zeros(1, num_channels), torch.eye(num_channels)]).to(device)
    inverse: Tensor = standardizer.inverse(tokens[:, :, None, None])  # type: ignore[operator]
    bias, *columns = inverse[:, :, 0, 0]
    layer = nn.Conv2d(num_channels, num_channels, kernel_size=1, device=device).requires_grad_(False)
    layer.weight.copy_((torch.stack(columns) - bias).T[:, :, None, None])
    layer.bias.copy_(bias)  # type: ignore[union-attr]
    return layer
