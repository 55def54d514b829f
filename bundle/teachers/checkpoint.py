"""Reading published weights strictly: a wrong file is an error, never a silent random initialization."""

import hashlib
import logging
import pickle
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_WEIGHTS = ("state_dict", "model_state_dict", "model", "network", "net", "module", "encoder", "backbone", "weights")
"""What training checkpoints call the weights, beside which optimizers and losses may have tensors too."""

_SHOWN = 5  # names in an error message

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A file does not hold the weights that were asked for."""


def find_checkpoint(checkpoint: str | Path, file_names: Sequence[str]) -> Path:
    """Turn a file, a folder or a hub id into the path of one local file.

    Args:
        checkpoint: A file; a folder holding one of ``file_names``; or a hub id such as ``microsoft/rad-dino``.
        file_names: What the publisher calls the file, best first.

    Raises:
        FileNotFoundError: If there is no such file here, and none could be fetched from the hub.
    """
    path = Path(checkpoint)
    if path.is_file():
        return path
    if path.is_dir():
        for name in file_names:
            if (path / name).is_file():
                return path / name
        raise FileNotFoundError(
            f"teacher weights: the folder {path} holds none of {', '.join(file_names)}; name the file itself"
        )
    if _is_hub_id(checkpoint):
        from bundle.teachers.download import fetch_from_hub

        return fetch_from_hub(str(checkpoint), file_names)
    raise FileNotFoundError(
        f"teacher weights not found: {path}; a teacher is never left with random weights. Give the path of a file or "
        f"folder, or fetch the published ones with `python scripts/download_teachers.py`"
    )


def read_state_dict(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read named tensors from a ``.safetensors``, ``.pt``, ``.pth``, ``.bin`` or ``.onnx`` file; no code in it is run.

    Args:
        path: The file.
        sha256: Expected checksum, in hexadecimal; not checked when None.

    Raises:
        CheckpointError: If the checksum differs, or the file is broken, or holds anything but named tensors, or several
            sets of them.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights not found: there is no file {path}")
    if sha256 is not None:
        verify_sha256(path, sha256)
    content = _read(path)
    while isinstance(content, Mapping) and not _is_state_dict(content):
        content = content[_key_of_weights(content, path)]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: expected named tensors (a state dict), got {_describe(content)}")
    return _without_counter(content)


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
        CheckpointError: If a tensor is missing, unexpected or of another shape; names the first few of each.
    """
    own = {published_name(key): (key, value) for key, value in module.state_dict().items()}
    kept = without_wrappers(state, own, path, ignore_prefixes, published_name)
    given = {published_name(name): value for name, value in kept.items()}
    if len(given) < len(kept):
        raise CheckpointError(f"{path} holds the same tensor under two names; save it once, under its published name")
    missing = sorted(own.keys() - given.keys())
    unexpected = sorted(given.keys() - own.keys())
    mismatched = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(value.shape)}"
        for key, (_, value) in own.items()
        if key in given and given[key].shape != value.shape
    ]
    if missing or unexpected or mismatched:
        raise CheckpointError(
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

    Args:
        state: Named tensors.
        own: The module's published names.
        path: Where the tensors come from, for the message.
        ignore_prefixes: As for :func:`load_strict`.
        published_name: Likewise.
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
    """Refuse a file with another checksum than the expected one.

    Args:
        path: The file.
        expected: SHA-256 in hexadecimal.
    """
    actual = file_sha256(path)
    if actual != expected.lower():
        raise CheckpointError(
            f"{path} has sha256 {actual}, expected {expected}; it is another version or damaged: fetch it again"
        )


def file_sha256(path: str | Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_weights(path: Path) -> str:
    """File name and the start of its checksum: enough to tell in a log which weights were used."""
    return f"{path.name} (sha256 {file_sha256(path)[:12]})"


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".onnx":
            from bundle.teachers.onnx_weights import read_onnx_weights

            return read_onnx_weights(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, or is no PyTorch file, and is not opened: it could run code. Ask its "
            f"publisher for a .safetensors file, or save its state dict alone with torch.save"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is broken or incomplete ({error}); fetch it again") from error


def _is_state_dict(content: Mapping[object, object]) -> bool:
    return all(isinstance(value, Tensor) and isinstance(key, str) for key, value in content.items())


def _key_of_weights(content: Mapping[str, object], path: Path) -> str:
    """Where in a training checkpoint the weights are."""
    found = [key for key, value in content.items() if _holds_weights(value)]
    usual = [key for key in found if key in _WEIGHTS] or found
    if not usual:
        raise CheckpointError(f"{path}: expected named tensors (a state dict), got {_describe(content)}")
    if len(usual) > 1:
        raise CheckpointError(
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


def _without_counter(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the count of averaged models that ``torch.optim.swa_utils.AveragedModel`` keeps beside its module."""
    others = {key: value for key, value in state.items() if key != "n_averaged"}
    return others if others and all(key.startswith("module.") for key in others) else dict(state)


@cache
def _note(message: str) -> None:
    logger.warning(message)


def _is_hub_id(checkpoint: str | Path) -> bool:
    # "owner/name" (of timm, "timm/name.tag") and nothing like a file, so that a mistyped path is not taken to a hub
    hub_id = r"[\w-][\w.-]*/[\w-]+|timm/[\w-]+\.(?!(?:pt|pth|bin|safetensors)$)\w+"
    return isinstance(checkpoint, str) and bool(re.fullmatch(hub_id, checkpoint))


def _first(names: list[str]) -> str:
    return f" ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})" if names else ""


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with {', '.join(map(str, list(content)[:_SHOWN])) or 'nothing in it'}"
    return f"a {type(content).__name__}"
