"""A light timm backbone as the trunk of SAM 2's image encoder.

The last four maps of timm's ``features_only`` backbones (TinyViT, RepViT, EfficientViT and most others) have strides 4,
8, 16 and 32, which is what SAM 2's FPN neck expects of its Hiera trunk.
"""

import types
from collections.abc import Callable

import timm
import torch
from timm.models.efficientvit_mit import LiteMLA
from torch import Tensor, nn

STRIDES = (4, 8, 16, 32)


class TimmTrunk(nn.Module):
    """Feature maps of a timm backbone at strides 4, 8, 16 and 32.

    Args:
        model_name: A timm model whose last four stages have these strides, such as ``efficientvit_b0``,
            ``tiny_vit_5m_224``, ``repvit_m0_9`` or ``tf_efficientnet_lite0``. Its weights are random until others are
            loaded.

    Raises:
        ValueError: If timm does not know the model, its strides are others, or it takes frames of one size only.
    """

    def __init__(self, model_name: str) -> None:
        super().__init__()
        if not timm.is_model(model_name):
            similar = ", ".join(timm.list_models(f"*{model_name.split('_')[0]}*")[:8]) or "see timm.list_models()"
            raise ValueError(f"student backbone must be a timm model, got {model_name!r}; similar names: {similar}")
        self.backbone = timm.create_model(model_name, features_only=True, pretrained=False)
        strides = tuple(self.backbone.feature_info.reduction())  # type: ignore[operator, union-attr]
        if strides[-4:] != STRIDES:
            raise ValueError(f"student backbone must end with strides {STRIDES}, {model_name} has {strides}")
        if len(strides) > len(STRIDES):
            self.backbone = timm.create_model(model_name, features_only=True, out_indices=(-4, -3, -2, -1))
        if any(getattr(module, "strict_img_size", False) for module in self.backbone.modules()):
            raise ValueError(
                f"student backbone must take frames of any size, {model_name} takes one only: choose another, such as "
                "efficientvit_b0, repvit_m0_9 or tiny_vit_5m_224"
            )
        keep_linear_attention_in_float32(self.backbone)
        self.model_name = model_name
        # SAM 2's neck lists the trunk's channels from deep to shallow.
        self.channel_list = list(reversed(self.backbone.feature_info.channels()))  # type: ignore[operator, union-attr]

    def forward(self, frames: Tensor) -> list[Tensor]:  # (B, 3, H, W) -> 4 x (B, C_i, H/s_i, W/s_i)
        return self.backbone(frames)

    def stages(self) -> list[nn.Module]:
        """Its parts from shallow to deep, the stem's first and the deepest stage last."""
        deepest = self.backbone.feature_info.module_name(-1)  # type: ignore[operator, union-attr]
        parts: list[nn.Module] = []
        for name, child in self.backbone.named_children():  # timm keeps blocks.6 of EfficientNet in one part, "blocks"
            parts += child.children() if name == deepest.rpartition(".")[0] else [child]
        return parts


def keep_linear_attention_in_float32(module: nn.Module) -> None:
    """Compute EfficientViT's linear attention in float32, also under mixed precision.

    Its numerator and denominator are sums over all positions and overflow float16. timm casts the operands up, but
    autocast casts the products down again, so it is switched off around them.
    """
    for child in module.modules():
        if isinstance(child, LiteMLA):
            child._attn = types.MethodType(_without_autocast(LiteMLA._attn), child)  # type: ignore[method-assign]


def _without_autocast(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrapped(self: LiteMLA, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # autocast has no place in an exported graph
            return attention(self, q, k, v)
        with torch.autocast(device_type=q.device.type, enabled=False):
            return attention(self, q.float(), k.float(), v.float())

    return wrapped
