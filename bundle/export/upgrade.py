"""A newer bundle in the place of an older one, at once or not at all. Needs the standard library alone.

``monai.bundle.download`` silently keeps a folder that is there. Here the new version is unpacked beside the old one,
verified, given the user's folders, and exchanged with the old one in one system call; the old one is kept as a backup.
"""

import ctypes
import errno
import fcntl
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from bundle.atomic import to_disk
from bundle.export.manifest import MAX_BYTES, BundleError, Manifest, describe_file, read_manifest, version_numbers
from bundle.export.unpack import unpack_bundle
from bundle.export.verify import USER_FOLDERS, manifest_digest, verify_bundle

REQUIREMENTS = "requirements.txt"
"""In a packaged bundle: what inference needs, for pip."""

_TIMEOUT_S = 60
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade has done.

    Attributes:
        old_version: Before.
        new_version: Now.
        kept: The user's folders that the new version has too.
        backup: Where the old version is.
        are_requirements_new: Whether the new version needs other packages.
    """

    old_version: str
    new_version: str
    kept: tuple[str, ...]
    backup: Path
    are_requirements_new: bool


def upgrade_bundle(
    source: str | Path,
    folder: str | Path,
    sha256: str | None = None,
    allow_downgrade: bool = False,
    discard_changes: bool = False,
) -> Upgrade | None:
    """Replace a bundle by the version in an archive; if killed at any moment, one of them is whole there.

    Args:
        source: The archive: a file, or an address that begins with ``https://`` or ``http://``.
        folder: The bundle that is there now. ``<folder>.previous`` is where it will be, in place of an earlier backup.
        sha256: The archive's checksum, as published. Needed for ``http://`` from another machine.
        allow_downgrade: Whether the archive may hold an older version.
        discard_changes: Whether the bundle may differ from what was published; the differing files are then in the
            backup only. With it the same version is put in again.

    Returns:
        What was done; None if the archive holds the version that is there.

    Raises:
        BundleError: If the archive or the present bundle is not as published, or the version is older.
        FileNotFoundError: If the archive is not there or cannot be fetched.
    """
    folder = Path(folder).resolve()
    staging = folder.with_name(f".{folder.name}.upgrade")
    with _locked(folder.with_name(f".{folder.name}.lock")):
        _finish_earlier(folder, staging)
        try:
            old = _present(folder, discard_changes)
            staging.mkdir()
            new = _unpack_beside(_fetch(source, staging / "bundle.zip", sha256), staging, old, allow_downgrade)
            if new.version == old.version and not discard_changes:
                _refuse_other_content(folder, staging)
                shutil.rmtree(staging)
                return None
            are_new = _content(staging / "new" / REQUIREMENTS) != _content(folder / REQUIREMENTS)
            kept = _carry_user_files(folder, staging / "new")
            _make_ready(staging)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _exchange(folder, staging)
        return Upgrade(old.version, new.version, kept, _set_aside(folder, staging), are_new)


def _present(folder: Path, discard_changes: bool) -> Manifest:
    """The bundle that is there, if it can be replaced."""
    mounted = [name for name in USER_FOLDERS if os.path.ismount(folder / name)]
    if mounted:
        raise BundleError(f"{', '.join(mounted)} in {folder} is a mounted disk: unmount it for the upgrade")
    return read_manifest(folder) if discard_changes else verify_bundle(folder)


def _unpack_beside(archive: Path, staging: Path, old: Manifest, allow_downgrade: bool) -> Manifest:
    unpack_bundle(archive, staging / "new")
    new = verify_bundle(staging / "new")
    if new.name != old.name:
        raise BundleError(f"the archive holds {new.name}, expected {old.name}")
    if version_numbers(new.version) < version_numbers(old.version) and not allow_downgrade:
        raise BundleError(f"{new.version} is older than {old.version}, which is there: a downgrade must be allowed")
    return new


def _refuse_other_content(folder: Path, staging: Path) -> None:
    if manifest_digest(folder) != manifest_digest(staging / "new"):
        raise BundleError("the archive has the version that is there, but other files: a version is published once")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One upgrade at a time; the lock ends with the process, however it ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BundleError(f"another upgrade is running ({path} is locked): wait for it") from error
        yield


# The exchange. `ready` holds the new folder's inode: whether the folder in place is that one tells what was done.


def _make_ready(staging: Path) -> None:
    new = staging / "new"
    (staging / "ready").write_text(str(new.stat().st_ino))
    for path in [*(Path(name) for name, _, _ in os.walk(new)), staging / "ready", staging]:
        to_disk(path)


def _exchange(folder: Path, staging: Path) -> None:
    """Put ``staging/new`` in the folder's place, and the old one in the staging folder."""
    if not rename_exchange(folder, staging / "new"):
        folder.rename(staging / "old")  # for a moment there is none; `_finish_earlier` mends that
        (staging / "new").rename(folder)
    to_disk(folder.parent)


def rename_exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step (Linux, renameat2).

    Returns:
        False if this system or file system cannot; nothing has changed then.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(first))


def _set_aside(folder: Path, staging: Path) -> Path:
    """Turn the old bundle, which is in the staging folder, into the backup."""
    old = staging / "old" if (staging / "old").exists() else staging / "new"
    _carry_user_files(old, folder)  # what was written there meanwhile
    backup = folder.with_name(f"{folder.name}.previous")
    if backup.exists():
        backup.rename(staging / "backup")
    old.rename(backup)
    to_disk(folder.parent)
    shutil.rmtree(staging)
    return backup


def _finish_earlier(folder: Path, staging: Path) -> None:
    """After an upgrade that was killed: the state before it, or its end."""
    if not folder.exists() and (staging / "old").exists():
        (staging / "old").rename(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no bundle {folder}: get it with python -m monai.bundle download first")
    was_exchanged = _content(staging / "ready") == str(folder.stat().st_ino).encode()
    if was_exchanged and any((staging / name).exists() for name in ("old", "new")):
        _set_aside(folder, staging)
    shutil.rmtree(staging, ignore_errors=True)


# The user's files


def _carry_user_files(old: Path, new: Path) -> tuple[str, ...]:
    """Give ``new`` the user's folders of ``old``: links to the same files, which cost no space; copies where they must.

    A file that is there already is left alone.
    """
    kept = [name for name in USER_FOLDERS if os.path.lexists(old / name)]
    for name in kept:
        if (old / name).is_symlink() or not (old / name).is_dir():
            _carry(old / name, new / name)
            continue
        for parent, subfolders, files in os.walk(old / name):
            target = new / Path(parent).relative_to(old)
            target.mkdir(exist_ok=True)
            for entry in [*files, *(folder for folder in subfolders if (Path(parent) / folder).is_symlink())]:
                _carry(Path(parent) / entry, target / entry)
    return tuple(kept)


def _carry(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        pass  # a temporary file of a run, gone meanwhile
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target, follow_symlinks=False)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


# The archive


def _fetch(source: str | Path, path: Path, sha256: str | None) -> Path:
    """The archive as a file, its checksum compared."""
    address = str(source)
    if re.match(r"[a-z]+://", address):
        _download(address, path, is_checked=sha256 is not None)
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"there is no archive {path}")
    found = describe_file(path).sha256
    if sha256 is not None and found != sha256.lower():
        raise BundleError(f"the archive has SHA-256 {found}, expected {sha256}: another or a damaged file")
    return path


def _download(address: str, path: Path, is_checked: bool) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise BundleError(f"the archive must be a file or an http(s) address, got {parts.scheme}://")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not is_checked:
        raise BundleError("http:// can be changed on its way: give the archive's SHA-256, or use https://")
    opener = urllib.request.build_opener(_NoRedirectToHttp())
    try:
        with opener.open(address, timeout=_TIMEOUT_S) as answer, path.open("xb") as file:
            while block := answer.read(2**20):
                file.write(block)
                if file.tell() > MAX_BYTES:
                    raise BundleError(f"the archive has more than {MAX_BYTES} bytes, which no bundle has")
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise FileNotFoundError(f"{address} cannot be fetched: {error}") from error


class _NoRedirectToHttp(urllib.request.HTTPRedirectHandler):
    """Refuses to be sent from https to a connection that anybody on the way can change."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """As in the base class, but for that."""
        if req.type == "https" and not newurl.startswith("https://"):
            raise urllib.error.HTTPError(newurl, code, "redirected from https to http", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
