"""Is this folder the bundle that was published, every file of it and nothing else? Needs the standard library alone."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from bundle.export.manifest import MANIFEST, BundleError, Manifest, describe_file, read_manifest

USER_FOLDERS = ("runs", "eval")
"""Top folders for a site's own files: not part of the bundle, not looked at, kept by an upgrade."""

_CACHE = "__pycache__"
_SHOWN = 5  # paths in an error message


def verify_bundle(folder: str | Path, manifest_sha256: str | None = None) -> Manifest:
    """Compare a folder with its manifest.

    Compiled caches are deleted first: Python would run them instead of the files that are checked.

    Args:
        folder: An unpacked bundle.
        manifest_sha256: Checksum of the manifest, from where the bundle was published. Without it a bundle that
            somebody has changed together with its manifest is not noticed.

    Returns:
        The manifest.

    Raises:
        BundleError: In one line, what was changed, is missing, or is there besides.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError(f"no bundle to verify: there is no folder {folder}")
    manifest = read_manifest(folder)
    found_sha256 = manifest_digest(folder)
    if manifest_sha256 is not None and found_sha256 != manifest_sha256.lower():
        raise BundleError(f"{MANIFEST} has SHA-256 {found_sha256}, expected {manifest_sha256}: another bundle")
    remove_caches(folder)
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


def manifest_digest(folder: str | Path) -> str:
    """SHA-256 of a bundle's manifest: one number that stands for all its files."""
    return describe_file(Path(folder) / MANIFEST).sha256


def remove_caches(folder: Path) -> None:
    """Delete Python's compiled files in a bundle, outside the user's folders.

    Raises:
        BundleError: If one cannot be deleted.
    """
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
