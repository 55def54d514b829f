"""The list of a packaged bundle's files, each with its size and SHA-256. Needs the standard library alone."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
"""Name of the list in the bundle's top folder."""

FORMAT = 1
MAX_FILES = 10_000
MAX_BYTES = 4 * 2**30
MAX_MANIFEST_BYTES = 4 * 2**20
"""No bundle comes near these; what states more is refused before anything is written."""

_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BundleError(ValueError):
    """A bundle, or its archive, is not what was published."""


@dataclass(frozen=True)
class FileEntry:
    """What one file must be."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds, apart from the manifest itself.

    Attributes:
        name: The bundle's name, which is also its top folder in the archive.
        version: Three numbers, as in ``1.2.3``.
        files: By relative path, with ``/``.
    """

    name: str
    version: str
    files: Mapping[str, FileEntry]

    def to_json(self) -> str:
        """The manifest's text: the same for the same content."""
        files = {path: {"bytes": entry.num_bytes, "sha256": entry.sha256} for path, entry in sorted(self.files.items())}
        content = {"format": FORMAT, "name": self.name, "version": self.version, "files": files}
        return json.dumps(content, indent=1) + "\n"


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest strictly.

    Raises:
        BundleError: If it is no manifest, or lists a path that must not be written.
    """
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates)
        if content["format"] != FORMAT:
            raise BundleError(f"{MANIFEST} has format {content['format']!r}, expected {FORMAT}: use a newer verifier")
        files = {path: _entry(path, value) for path, value in content["files"].items()}
        manifest = Manifest(content["name"], content["version"], files)
        check_paths([manifest.name])
        version_numbers(manifest.version)
    except BundleError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is damaged ({type(error).__name__}): download the bundle again") from error
    check_paths([*manifest.files, MANIFEST])
    if len(files) > MAX_FILES or sum(entry.num_bytes for entry in files.values()) > MAX_BYTES:
        raise BundleError(f"{MANIFEST} lists more than {MAX_FILES} files or {MAX_BYTES} bytes, which no bundle has")
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of an unpacked bundle.

    Raises:
        BundleError: If the folder has none, or it is damaged.
    """
    path = Path(folder) / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{folder} is no packaged bundle: it has no {MANIFEST}")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes, which no manifest is")
    return parse_manifest(path.read_bytes())


def check_paths(paths: Iterable[str]) -> None:
    """Refuse paths that could leave the bundle's folder, hide in it, or overwrite one another on some file system.

    Args:
        paths: Relative, with ``/``; every part in plain letters, digits and ``_ . + -``, not beginning with a dot.

    Raises:
        BundleError: Naming the path.
    """
    seen: dict[str, str] = {}
    for path in paths:
        if not isinstance(path, str) or not all(_PATH_PART.fullmatch(part) for part in path.split("/")):
            raise BundleError(f"unsafe path {path!r}: expected a relative path of plain letters and digits")
        if path.casefold() in seen:
            raise BundleError(f"the path {path!r} is there twice")
        seen[path.casefold()] = path
    for path in seen:
        parts = path.split("/")
        clash = next((seen[p] for n in range(1, len(parts)) if (p := "/".join(parts[:n])) in seen), None)
        if clash is not None:
            raise BundleError(f"the path {clash!r} is both a file and a folder")


def version_numbers(version: str) -> tuple[int, ...]:
    """``1.2.3`` as numbers, which compare as versions do.

    Raises:
        BundleError: If it is no such version.
    """
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise BundleError(f"a version must be three numbers such as 1.2.3, got {version!r}")
    return tuple(int(number) for number in match.groups())


def describe_file(path: Path) -> FileEntry:
    """Size and checksum of a file as it is."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(file.tell(), digest)


def _entry(path: str, value: Mapping[str, Any]) -> FileEntry:
    num_bytes, sha256 = value["bytes"], value["sha256"]
    if type(num_bytes) is not int or num_bytes < 0 or not _SHA256.fullmatch(sha256):
        raise BundleError(f"{MANIFEST} is damaged: no size and SHA-256 for {path!r}")
    return FileEntry(num_bytes, sha256)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise BundleError(f"{MANIFEST} has the same key twice")
    return content
