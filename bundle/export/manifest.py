"""The list of a packaged bundle's files, and whether a folder is as listed. Needs the standard library alone."""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"  # name of the list in the bundle's top folder
FORMAT = 1
USER_FOLDERS = ("runs", "eval")  # top folders for a site's own files: not part of the bundle, and not looked at
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CACHE = "__pycache__"
_SHOWN = 5  # paths in an error message


class BundleError(ValueError):
    """A bundle is not what was published, or cannot be published."""


@dataclass(frozen=True)
class FileEntry:
    """What one file must be."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds, apart from the manifest itself."""

    name: str  # the bundle's name, which is also its top folder in the archive
    version: str  # three numbers, as in ``1.2.3``
    files: Mapping[str, FileEntry]  # by relative path, with ``/``

    def to_json(self) -> str:
        """The manifest's text: the same for the same content."""
        files = {path: {"bytes": entry.num_bytes, "sha256": entry.sha256} for path, entry in sorted(self.files.items())}
        content = {"format": FORMAT, "name": self.name, "version": self.version, "files": files}
        return json.dumps(content, indent=1) + "\n"


def verify_bundle(folder: str | Path, manifest_sha256: str | None = None) -> Manifest:
    """Compare a folder with its manifest.

    Compiled caches are deleted first: Python would run them instead of the files that are checked.

    Args:
        folder: An unpacked bundle.
        manifest_sha256: Checksum of the manifest, from where the bundle was published. Without it a bundle that
            somebody has changed together with its manifest is not noticed.

    Raises:
        BundleError: In one line, what was changed, is missing, or is there besides.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError(f"no bundle to verify: there is no folder {folder}")
    if (folder / MANIFEST).is_symlink() or not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder} is no packaged bundle: it has no {MANIFEST}")
    manifest = parse_manifest((folder / MANIFEST).read_bytes())
    found_sha256 = manifest_digest(folder)
    if manifest_sha256 is not None and found_sha256 != manifest_sha256.lower():
        raise BundleError(f"{MANIFEST} has SHA-256 {found_sha256}, expected {manifest_sha256}: another bundle")
    _remove_caches(folder)
    found = dict(_entries(folder))
    regular = {path for path, mode in found.items() if stat.S_ISREG(mode)}
    problems = {
        "missing": manifest.files.keys() - found.keys(),
        "changed": {path for path in manifest.files.keys() & regular if not _is_as_listed(folder, manifest, path)},
        "not listed": regular - manifest.files.keys() - {MANIFEST},
        "no regular files": found.keys() - regular,
    }
    if any(problems.values()):
        found_out = "; ".join(f"{_listed(paths)} {kind}" for kind, paths in problems.items() if paths)
        raise BundleError(
            f"{folder} is not {manifest.name} {manifest.version} as published: {found_out}. Download it again; "
            f"files of your own belong in {' or '.join(f'{name}/' for name in USER_FOLDERS)}"
        )
    return manifest


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest strictly."""
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates)
        if content["format"] != FORMAT:
            raise BundleError(f"{MANIFEST} has format {content['format']!r}, expected {FORMAT}: use a newer verifier")
        files = {path: _entry(path, value) for path, value in content["files"].items()}
        manifest = Manifest(content["name"], content["version"], files)
        check_paths([manifest.name])
        check_version(manifest.version)
    except BundleError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is damaged ({type(error).__name__}): download the bundle again") from error
    check_paths([*manifest.files, MANIFEST])
    return manifest


def check_paths(paths: Iterable[str]) -> None:
    """Refuse paths that could leave the bundle's folder, hide in it, or overwrite one another on some file system.

    Args:
        paths: Relative, with ``/``; every part in plain letters, digits and ``_ . + -``, not beginning with a dot.
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


def check_version(version: object) -> None:
    """Refuse what is not a version of three numbers, such as ``1.2.3``."""
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise BundleError(f"a version must be three numbers such as 1.2.3, got {version!r}")


def describe_file(path: Path) -> FileEntry:
    """Size and checksum of a file as it is."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(file.tell(), digest)


def manifest_digest(folder: str | Path) -> str:
    """SHA-256 of a bundle's manifest: one number that stands for all its files."""
    return describe_file(Path(folder) / MANIFEST).sha256


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


def _remove_caches(folder: Path) -> None:
    """Delete Python's compiled files in a bundle, outside the user's folders."""
    for path in [*_folders(folder)]:
        cache = path / _CACHE
        if cache.is_dir() and not cache.is_symlink():
            try:
                shutil.rmtree(cache)
            except OSError as error:
                raise BundleError(f"compiled files cannot be deleted: {cache}; do it as the folder's owner") from error


def _is_as_listed(folder: Path, manifest: Manifest, path: str) -> bool:
    expected = manifest.files[path]
    return (folder / path).stat().st_size == expected.num_bytes and describe_file(folder / path) == expected


def _folders(folder: Path) -> Iterator[Path]:
    """The bundle's folders, without the user's; links are not followed."""
    for name, subfolders, _ in os.walk(folder, onerror=_raise):
        if Path(name) == folder:
            subfolders[:] = [subfolder for subfolder in subfolders if subfolder not in USER_FOLDERS]
        yield Path(name)


def _entries(folder: Path) -> Iterator[tuple[str, int]]:
    """Everything in a bundle that is no folder: relative path and mode."""
    for subfolder in _folders(folder):
        for entry in subfolder.iterdir():
            mode = entry.lstat().st_mode
            path = entry.relative_to(folder).as_posix()
            if not stat.S_ISDIR(mode) and path not in USER_FOLDERS:
                yield path, mode


def _listed(paths: Iterable[str]) -> str:
    ordered = sorted(paths)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return f"{', '.join(ascii(path)[1:-1] for path in ordered[:_SHOWN])}{more}"


def _raise(error: OSError) -> None:
    raise error
