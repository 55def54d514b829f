"""Exported files beside their checkpoint: made once, complete or not there, never those of another checkpoint."""

import errno
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from bundle.atomic import atomic_folder, write_json
from bundle.teachers.checkpoint import file_sha256

RECORD = "export.json"
PACKAGES = ("torch", "timm", "sam2", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
"""What an exported file may depend on."""

logger = logging.getLogger(__name__)


def default_folder(checkpoint: str | Path) -> Path:
    """Where a checkpoint's exported files lie unless another folder is named: beside it."""
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}-exported")


def exported_folder(
    folder: str | Path, checkpoint: str | Path, settings: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """Find the files that were exported from a checkpoint with these settings and versions, or make them.

    Args:
        folder: Holds one folder per export.
        checkpoint: The weights; only its content counts, by SHA-256.
        settings: What else the files depend on, as JSON has it; "format" and "precision" are part of the name.
        write: Writes the files into an empty folder that it is given.

    Returns:
        The export's folder. It is made again if a file in it was damaged or changed, or if it was made with another
        version of a package that is installed here; a package that is only needed to make it may be missing.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        OSError: If the folder cannot be written, or is full.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"weights not found: there is no file {checkpoint}")
    key = {"checkpoint": file_sha256(checkpoint), **settings}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    target = Path(folder) / f"{settings['format']}-{settings['precision']}-{digest[:16]}"
    if reason := _why_not(target, key):
        logger.info("exporting %s to %s: %s", Path(checkpoint).name, target.name, reason)
        _write(target, key, write)
    return target


def installed_versions() -> dict[str, str]:
    """Versions of the packages that make exported files."""
    return {name: metadata.version(name) for name in PACKAGES if _is_installed(name)}


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _write(target: Path, key: Mapping[str, Any], write: Callable[[Path], None]) -> None:
    try:
        with atomic_folder(target) as temporary:
            write(temporary)
            files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
            write_json(temporary / RECORD, {"key": key, "versions": installed_versions(), "files": files})
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
            raise
        reason = f"exported files cannot be written into {target.parent} ({error.strerror})"
        raise OSError(f"{reason}: name another folder with cache_dir") from error


def _why_not(folder: Path, key: Mapping[str, Any]) -> str | None:
    """Why an export cannot be used as it is; None if it can."""
    if not (folder / RECORD).is_file():
        return "there is none yet"
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["key"] != key:
            return "it was made from something else"
        here = installed_versions()
        other = [name for name, version in record["versions"].items() if here.get(name, version) != version]
        damaged = [name for name, sha256 in record["files"].items() if file_sha256(folder / name) != sha256]
    except (OSError, ValueError, KeyError, AttributeError):
        return "it is incomplete or damaged"
    if damaged:
        return f"{', '.join(damaged)} was damaged or changed"
    return f"made with another version of {', '.join(other)}" if other else None
