"""Named tensors on disk, read strictly: a wrong file is an error, never a silent random initialization."""

import hashlib
import itertools
import json
import logging
import pickle
from collections.abc import Callable, Container, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bundle.extras import needs_extra

_WEIGHTS = ("state_dict", "model_state_dict", "model", "network", "net", "module", "encoder", "backbone", "weights")
"""What training checkpoints call the weights, beside which optimizers and losses may have tensors too."""
_SHOWN = 5  # names in an error message

logger = logging.getLogger(__name__)


class WeightsError(ValueError):
    """A file does not hold the weights that were asked for."""


def read_state_dict(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read named tensors from a ``.safetensors``, ``.pt``, ``.pth``, ``.bin`` or ``.onnx`` file; no code in it is run.

    Args:
        path: The file.
        sha256: Expected checksum, in hexadecimal; not checked when None.

    Raises:
        FileNotFoundError: If there is no such file.
        WeightsError: If the checksum differs, or the file is broken, or holds anything but one set of named tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights not found: there is no file {path}")
    if sha256 is not None:
        verify_sha256(path, sha256)
    content = _read(path)
    while isinstance(content, Mapping) and not _is_state_dict(content):
        content = content[_key_of_weights(content, path)]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: expected named tensors (a state dict), got {_describe(content)}")
    # torch.optim.swa_utils.AveragedModel counts the averaged models beside its module.
    others = {key: value for key, value in content.items() if key != "n_averaged"}
    return others if others and all(key.startswith("module.") for key in others) else dict(content)


def load_strict(
    module: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    ignore_prefixes: Iterable[str] = (),
    published_name: Callable[[str], str] = str,
) -> None:
    """Fill a module with weights, each tensor of it and nothing else.

    What a wrapper has put before every name, such as ``module.`` or ``_orig_mod.``, is left out, with a word about it.

    Args:
        module: Filled in place; its own precision is kept.
        state: Named tensors.
        path: Where they come from, for messages.
        ignore_prefixes: Parts of the published model that the module leaves out on purpose.
        published_name: Gives the published name of a module's tensor, and leaves a published name as it is.

    Raises:
        WeightsError: If a tensor is missing, unexpected or of another shape; names the first few of each.
    """
    own = {published_name(key): (key, value) for key, value in module.state_dict().items()}
    kept = without_wrappers(state, own, path, ignore_prefixes, published_name)
    given = {published_name(name): value for name, value in kept.items()}
    if len(given) < len(kept):
        raise WeightsError(f"{path} holds the same tensor under two names; save it once, under its published name")
    missing = sorted(own.keys() - given.keys())
    unexpected = sorted(given.keys() - own.keys())
    mismatched = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(value.shape)}"
        for key, (_, value) in own.items()
        if key in given and given[key].shape != value.shape
    ]
    if missing or unexpected or mismatched:
        raise WeightsError(
            f"{path} does not fit {type(module).__name__}: {len(missing)} missing{_first(missing)}, {len(unexpected)} "
            f"unexpected{_first(unexpected)}, {len(mismatched)} of another shape{_first(mismatched)}. "
            f"Use the file published for this model, or the architecture that the file was made with"
        )
    module.load_state_dict({own[key][0]: value for key, value in given.items()})


def without_wrappers(
    state: Mapping[str, Tensor],
    own: Container[str],
    path: Path,
    ignore_prefixes: Iterable[str] = (),
    published_name: Callable[[str], str] = str,
) -> dict[str, Tensor]:
    """Leave out ignored parts, and what all other names begin with before a module's own names begin; say so.

    Arguments are those of :func:`load_strict`; ``own`` are the module's published names.
    """
    ignored = tuple(ignore_prefixes)
    first = kept = {name: value for name, value in state.items() if not name.startswith(ignored)}
    prefix = ""
    while kept and not any(published_name(name) in own for name in kept):
        heads = {name.partition(".")[0] if "." in name else None for name in kept}
        head = heads.pop()
        if heads or head is None:
            return first
        prefix += f"{head}."
        shortened = {name.removeprefix(f"{head}."): value for name, value in kept.items()}
        kept = {name: value for name, value in shortened.items() if not name.startswith(ignored)}
    if prefix:
        _note(f"{path.name}: '{prefix}' before every name is left out")
    return kept


def verify_sha256(path: Path, expected: str) -> None:
    """Refuse a file with another SHA-256 (in hexadecimal) than the expected one."""
    actual = file_sha256(path)
    if actual != expected.lower():
        raise WeightsError(
            f"{path} has sha256 {actual}, expected {expected}; it is another version or damaged: fetch it again"
        )


def file_sha256(path: str | Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(module: nn.Module) -> str:
    """Hash of a network's parameters and buffers, by which stored statistics and features know their teacher."""
    digest = hashlib.sha256()
    for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def describe_weights(path: Path) -> str:
    """File name and the start of its checksum: enough to tell in a log which weights were used."""
    return f"{path.name} (sha256 {file_sha256(path)[:12]})"


def find_card(checkpoint: str | Path | None) -> dict[str, Any]:
    """The card ``<name>.json`` beside weights; empty if there is none, or it is of something else."""
    if checkpoint is None:
        return {}
    try:
        card = json.loads(Path(checkpoint).with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def check_card(checkpoint: str | Path, settings: Mapping[str, Any]) -> None:
    """Refuse to use weights otherwise than as they were trained: strict loading does not notice another image size.

    Args:
        checkpoint: The weights; without a card beside them nothing is known.
        settings: Values by the names of the config.

    Raises:
        ValueError: Naming the setting, both values and the remedy.
    """
    card = find_card(checkpoint)
    for name, value in settings.items():
        wanted = list(value) if isinstance(value, tuple) else value
        if name in card and card[name] != wanted:
            raise ValueError(
                f"{name} is {wanted}, but {checkpoint} was trained with {name} {card[name]} "
                f"({Path(checkpoint).with_suffix('.json').name}): leave --{name} out, give that value, or other weights"
            )


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".onnx":
            return _read_onnx(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, or is no PyTorch file, and is not opened: it could run code. Ask its "
            f"publisher for a .safetensors file, or save its state dict alone with torch.save"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} is broken or incomplete ({error}); fetch it again") from error


def _read_onnx(path: Path) -> dict[str, Tensor]:
    """Initializers of a graph that PyTorch exported; the graph is not run.

    The exporter keeps a parameter's name unless it folded something: it transposes a linear layer's weight and counts
    constants. Those take the name of the node that reads them: a matrix product ``/block/fc/MatMul`` gives
    ``block.fc.weight``, transposed back; any other node gives its own name, such as ``embeddings.Concat_6``.
    """
    with needs_extra("real-teachers", f"reading the weights in {path.name}"):
        import onnx
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's own, of a package that only onnx asks for
        raise ValueError(f"no ONNX graph: {error}") from error
    readers = {name: node for node in reversed(graph.node) for name in node.input}
    state = {}
    for tensor in graph.initializer:
        name, value = tensor.name, torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        if name.startswith("onnx::") and name in readers:
            name = readers[name].name.strip("/").replace("/", ".")
            if readers[tensor.name].op_type == "MatMul":
                name, value = f"{name.rpartition('.')[0]}.weight", value.T.contiguous()
        state[name] = value
    return state


def _is_state_dict(content: Mapping[object, object]) -> bool:
    return all(isinstance(value, Tensor) and isinstance(key, str) for key, value in content.items())


def _key_of_weights(content: Mapping[str, object], path: Path) -> str:
    """Where in a training checkpoint the weights are."""
    found = [key for key, value in content.items() if _holds_weights(value)]
    usual = [key for key in found if key in _WEIGHTS] or found
    if not usual:
        raise WeightsError(f"{path}: expected named tensors (a state dict), got {_describe(content)}")
    if len(usual) > 1:
        raise WeightsError(
            f"{path} holds several sets of weights, {', '.join(map(repr, usual))}: save the one that you mean alone, "
            f"torch.save(torch.load(path)[{usual[0]!r}], new_path)"
        )
    if len(found) > 1:
        _note(f"{path.name}: the weights under {usual[0]!r} are taken, of {', '.join(map(repr, found))}")
    return usual[0]


def _holds_weights(content: object) -> bool:
    if not isinstance(content, Mapping) or not content:
        return False
    return _is_state_dict(content) or any(_holds_weights(content.get(key)) for key in _WEIGHTS)


@cache
def _note(message: str) -> None:
    logger.warning(message)


def _first(names: list[str]) -> str:
    return f" ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})" if names else ""


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with {', '.join(map(str, list(content)[:_SHOWN])) or 'nothing in it'}"
    return f"a {type(content).__name__}"
