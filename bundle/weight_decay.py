"""Which parameters AdamW's weight decay shrinks, in both phases: the weights of linear maps and convolutions only."""

from collections.abc import Collection
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd


def weight_decay_groups(
    module: nn.Module, parameters: Collection[nn.Parameter] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Optimizer groups in which norms, biases, queries, tokens and positions do not decay.

    Args:
        module: Tells what each parameter is.
        parameters: Some of its parameters; None: all. Those that are not trained are left out.
        options: Of every group, such as ``lr``.
    """
    decaying = {id(part.weight) for part in module.modules() if isinstance(part, nn.Linear | _ConvNd)}
    trained = [value for value in (module.parameters() if parameters is None else parameters) if value.requires_grad]
    weights = [value for value in trained if id(value) in decaying]
    others = [value for value in trained if id(value) not in decaying]
    groups = [{"params": weights, **options}, {"params": others, "weight_decay": 0.0, **options}]
    return [group for group in groups if group["params"]]
