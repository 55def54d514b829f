"""What a tracker has beyond the student: memory, and a decoder for named structures. Trained and saved by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from bundle.weight_decay import weight_decay_groups
from bundle.weights import find_card, load_strict, read_state_dict, weights_sha256

STUDENT = "image_encoder."
"""Names of what is not the memory's, but the segmenter's."""

COPIED = ("sam_mask_decoder.", "sam_prompt_encoder.")
"""Names of what begins as a copy of the segmenter's and is already trained."""


LOCAL = 4.0
"""Queries and keys of a new memory: at a width of 256, nine tenths of a position's attention are on its own place."""


class Memory:
    """The part of a tracker that its training trains, saves and loads: everything but the student."""

    def __init__(self, model: SAM2Base) -> None:
        self.model = model

    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [value for name, value in self.model.named_parameters() if not name.startswith(STUDENT)]

    def parameter_groups(self, memory_lr: float, decoder_lr: float) -> list[dict[str, Any]]:
        """An optimizer's groups: what is new, and the copies of prompt encoder, mask decoder and queries."""
        named = [(name, value) for name, value in self.model.named_parameters() if not name.startswith(STUDENT)]
        groups = []
        for is_copied, lr in ((False, memory_lr), (True, decoder_lr)):
            parameters = [value for name, value in named if name.startswith(COPIED) == is_copied]
            groups += weight_decay_groups(self.model, parameters, lr=lr)
        return groups

    def state_dict(self) -> dict[str, Tensor]:
        """Named tensors, as :func:`load_memory` reads them."""
        return {name: value for name, value in self.model.state_dict().items() if not name.startswith(STUDENT)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Fill the memory; the student stays."""
        own = {name: value for name, value in self.model.state_dict().items() if name.startswith(STUDENT)}
        self.model.load_state_dict({**own, **state})


def check_student(student: nn.Module, checkpoint: str | Path) -> None:
    """Refuse a memory that by its card was trained on another student, whose embeddings mean nothing to it."""
    trained_on = find_card(checkpoint).get("student")
    if trained_on is not None and trained_on != weights_sha256(student):
        raise ValueError(
            f"{checkpoint} was trained on another student than this segmenter's: take the segmenter it was trained on, "
            "or train the memory again (configs/train_memory.json)"
        )


def load_memory(model: SAM2Base, checkpoint: str | Path) -> None:
    """Fill a tracker's memory with the weights of a file, each tensor of it and nothing else."""
    path = Path(checkpoint)
    own = {name: value for name, value in model.state_dict().items() if name.startswith(STUDENT)}
    load_strict(model, {**own, **read_state_dict(path)}, path)


@torch.no_grad()
def start_memory(model: SAM2Base, embedding: Tensor) -> None:
    """Have a new memory look at the same place and say nothing yet: masks begin as automatic ones.

    Queries and keys that are one constant leave it to the rotary encoding (arXiv 2104.09864) to tell positions apart:
    each attends to its own in the remembered frames. From random weights attention would be even, and where the object
    was would have to be found out first. Values are as large as the embedding that they are to change.

    Args:
        model: Changed in place.
        embedding: Of some frames ``(B, C, h, w)``; memory attention's last layer, a norm, restores its mean and spread.
    """
    for layer in model.memory_attention.layers:
        for last in (layer.self_attn.out_proj, layer.cross_attn_image.out_proj, layer.linear2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        for side in (layer.cross_attn_image.q_proj, layer.cross_attn_image.k_proj):
            nn.init.zeros_(side.weight)
            nn.init.constant_(side.bias, LOCAL)
        nn.init.normal_(layer.cross_attn_image.v_proj.weight, std=0.5)
    norm = model.memory_attention.norm
    tokens = embedding.flatten(2).transpose(1, 2)  # (B, h * w, C)
    normed = nn.functional.layer_norm(tokens, norm.normalized_shape)
    norm.weight.copy_(tokens.std(dim=(0, 1)) / normed.std(dim=(0, 1)))
    norm.bias.copy_(tokens.mean(dim=(0, 1)) - normed.mean(dim=(0, 1)) * norm.weight)
