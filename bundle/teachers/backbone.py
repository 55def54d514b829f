"""Your own teacher: any backbone of timm or transformers, with your weights."""

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from bundle.extras import needs_extra
from bundle.teachers.base import ImageInput, Teacher, tokens_to_grid
from bundle.teachers.convert import Convert
from bundle.teachers.find import find_checkpoint
from bundle.weights import WeightsError, describe_weights, load_strict, read_state_dict, without_wrappers

with needs_extra("train", "this teacher"):
    from transformers import AutoConfig, AutoModel

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # what both libraries' hubs call a model's weights


class TimmBackbone(nn.Module):
    """One level of any timm model that gives intermediate features: convolutional, windowed or plain transformer.

    Args:
        model_name: timm's name of the model.
        input_size: Side of the square input.
        mean: Mean of each channel of the images it was trained on; by default what timm states for its own weights.
        std: Standard deviation of each channel, likewise.
        level: Which of the model's intermediate features; the last by default.
        model_arguments: More arguments for ``timm.create_model``, such as ``{"img_size": 512}``.
    """

    def __init__(
        self,
        model_name: str,
        input_size: int,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        level: int = -1,
        model_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not timm.is_model(model_name):
            alike = difflib.get_close_matches(model_name, timm.list_models())
            raise ValueError(f"timm has no model {model_name!r}; alike: {', '.join(alike) or 'none'}")
        self.model = _build(model_name, input_size, model_arguments or {})
        if not hasattr(self.model, "forward_intermediates"):
            raise ValueError(f"timm's {model_name} gives no intermediate features; choose another model")
        self.level, self.input_size = level, input_size
        stated: Mapping[str, Any] = self.model.pretrained_cfg  # type: ignore[assignment]
        self.mean, self.std = tuple(mean or stated["mean"]), tuple(std or stated["std"])
        remedy = f"timm states the input {tuple(stated['input_size'])}; a transformer takes another size, with weights "
        remedy += f'of this size, by model_arguments={{"img_size": {input_size}}}'
        self.embed_dim, self.grid_size = _try_forward(self, f"level {level} of timm's {model_name}", remedy)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, C, h, w)
        # timm's norm=True gives a transformer's last tokens as its head sees them; convolutional models have no such
        # norm and ignore it.
        return self.model.forward_intermediates(  # type: ignore[operator]
            images, indices=[self.level], norm=True, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )[0]


class TransformersBackbone(nn.Module):
    """A hidden state of a transformers vision model, tokens laid on their grid and special tokens dropped.

    Args:
        model: A model whose output has ``last_hidden_state``, as maps or as special tokens followed by patch tokens.
        images: What it was trained on.
        layer: Which of the model's ``hidden_states``: 6 is what the sixth block gives, without the last norm. Blocks
            that it needs not are taken out of the model, in place. By default the last hidden state.
    """

    def __init__(self, model: nn.Module, images: ImageInput, layer: int | None = None) -> None:
        super().__init__()
        if layer is not None:
            _drop_blocks_above(model, layer)
        self.model, self.layer = model, layer
        self.input_size, self.mean, self.std = images.size, tuple(images.mean), tuple(images.std)
        remedy = (
            "expected a vision model alone, of this size, as model.vision_model.save_pretrained(folder) saves CLIP's"
        )
        name = f"{'' if layer is None else f'layer {layer} of '}transformers' {type(model).__name__}"
        self.embed_dim, self.grid_size = _try_forward(self, name, remedy)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, C, h, w)
        if self.layer is None:
            hidden = self.model(pixel_values=images).last_hidden_state
        else:
            hidden = self.model(pixel_values=images, output_hidden_states=True).hidden_states[self.layer]
        if hidden.ndim == 4:
            return hidden
        # Special tokens stand first, and are fewer than would make the square one larger.
        grid_size = math.isqrt(hidden.shape[1])
        return tokens_to_grid(hidden[:, -(grid_size**2) :], grid_size)


def load_timm_backbone(
    name: str,
    encoder: TimmBackbone,
    checkpoint: str | Path,
    sha256: str | None = None,
    ignore_prefixes: Sequence[str] = (),
    convert: Convert = dict,
) -> Teacher:
    """Make a teacher from a timm model and a file with its weights, classifier included.

    Args:
        name: What to call the teacher.
        encoder: The model.
        checkpoint: ``.safetensors``, ``.bin``, ``.pt`` or ``.pth`` file with timm's names, a folder with
            ``model.safetensors`` or ``pytorch_model.bin``, or a hub id (``timm/resnet50.a1_in1k``).
        sha256: Expected checksum of the file.
        ignore_prefixes: Parts of the file that the model lacks, such as a classifier of other classes; create the
            model with ``{"num_classes": 0}`` then.
        convert: Makes timm's tensors of the file's, where those are others: see ``bundle.teachers.convert``.
    """
    path = find_checkpoint(checkpoint, WEIGHT_FILES)
    load_strict(encoder.model, convert(read_state_dict(path, sha256)), path, ignore_prefixes)
    return Teacher(name, encoder, describe_weights(path))


def load_transformers_backbone(
    name: str,
    checkpoint: str | Path,
    images: ImageInput,
    sha256: str | None = None,
    ignore_prefixes: Sequence[str] = (),
    layer: int | None = None,
    config: Mapping[str, Any] | None = None,
    convert: Convert = dict,
) -> Teacher:
    """Make a teacher from a transformers vision model saved in a folder, or from any file with its weights.

    Args:
        name: What to call the teacher.
        checkpoint: Folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, or a hub id; with
            ``config`` also a file: ``.safetensors``, ``.bin``, ``.pt``, ``.pth`` or ``.onnx``.
        images: What the model was trained on.
        sha256: Expected checksum of the file with the weights.
        ignore_prefixes: Parts that the file or the model may lack since features need them not: ``("pooler.",)``.
        layer: Which hidden state, see :class:`TransformersBackbone`.
        config: What ``config.json`` would say, where none is beside the weights: ``{"model_type": "dinov2", …}``.
        convert: Makes transformers' tensors of the file's, where those are others: see ``bundle.teachers.convert``.
    """
    path = find_checkpoint(checkpoint, WEIGHT_FILES)
    state = convert(read_state_dict(path, sha256))
    settings, kind, names = _read_config(config or find_checkpoint(checkpoint, ("config.json",)).parent)
    others = [prefix for prefix in ignore_prefixes if not any(name.startswith(prefix) for name in names)]
    # from_pretrained rather than load_strict: only transformers knows how each of its versions renamed the weights.
    model, report = kind.from_pretrained(
        None,
        config=settings,
        state_dict=without_wrappers(state, names, path, others),
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        dtype=torch.float32,
    )
    problems = [
        f"{kind.removesuffix('_keys')} {key}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for key in sorted(str(entry[0]) if isinstance(entry, tuple) else entry for entry in report[kind])
        if not key.startswith(tuple(ignore_prefixes))
    ]
    if problems:
        raise WeightsError(
            f"{path} does not fit the {type(model).__name__} of its config: {', '.join(problems[:5])}"
            f"{', …' if len(problems) > 5 else ''}. Name parts that features need not in ignore_prefixes"
        )
    return Teacher(name, TransformersBackbone(model, images, layer), describe_weights(path))


def random_transformers_backbone(
    config: Mapping[str, Any], images: ImageInput, layer: int | None = None
) -> TransformersBackbone:
    """The encoder of :func:`load_transformers_backbone` with random weights, for a placebo; arguments as there."""
    settings, kind, _ = _read_config(config)
    return TransformersBackbone(kind(settings), images, layer)


def _build(model_name: str, input_size: int, model_arguments: Mapping[str, Any]) -> nn.Module:
    if model_arguments.get("in_chans", 3) != 3:
        raise ValueError(f"teachers see frames as three equal channels: leave in_chans of {model_name} at 3")
    if input_size < 1:
        raise ValueError(f"input_size is the side of the square input in pixels, got {input_size}")
    try:
        return timm.create_model(model_name, pretrained=False, **model_arguments)
    except Exception as error:  # each model refuses arguments in its own way
        raise ValueError(f"timm's {model_name} cannot be made with {dict(model_arguments)}: {error}") from error


def _read_config(source: Path | Mapping[str, Any]) -> tuple[Any, Any, set[str]]:
    """A config of a folder or as given, the class of its model, and the names of that model's tensors; runs no code."""
    try:
        if isinstance(source, Path):
            config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        else:
            config = AutoConfig.for_model(**source)
        with torch.device("meta"):
            model = AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError and others, with advice to run the folder's code
        reason = str(error).splitlines()[0] if isinstance(error, OSError) else type(error).__name__
        where = source / "config.json" if isinstance(source, Path) else f"config {dict(source)}"
        raise ValueError(
            f"{where} is of no model that transformers itself has, and code beside it is never run "
            f"({reason}): expected a vision model as save_pretrained writes it, with its model_type"
        ) from error
    return config, type(model), set(model.state_dict())


def _drop_blocks_above(model: nn.Module, layer: int) -> None:
    """Leave out blocks of a plain transformer that its hidden state ``layer``, the input of the next, does not need."""
    if layer < 0:
        raise ValueError(f"layer counts hidden states from 0, the embeddings, got {layer}")
    num_blocks = getattr(model.config, "num_hidden_layers", None)
    for blocks in model.modules():
        if isinstance(blocks, nn.ModuleList) and len(blocks) == num_blocks:
            shapes = {tuple(parameter.shape for parameter in block.parameters()) for block in blocks}
            if len(shapes) == 1:  # stages of a pyramid differ, and what follows them needs the last
                del blocks[layer + 1 :]


@torch.no_grad()
def _try_forward(encoder: nn.Module, name: str, remedy: str) -> tuple[int, int]:
    """Channels and grid size of an encoder's features, found by encoding one black image."""
    encoder.eval()
    size: int = encoder.input_size  # type: ignore[assignment]
    try:
        features = encoder(torch.zeros(1, 3, size, size))
    except Exception as error:  # assertions, shapes, missing texts: each model refuses an image in its own way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{name} cannot take images {(3, size, size)} ({reason}): {remedy}") from error
    if features.ndim != 4 or features.shape[2] != features.shape[3]:
        raise ValueError(f"{name} must give square features (1, C, h, h), got {tuple(features.shape)}")
    return features.shape[1], features.shape[2]
