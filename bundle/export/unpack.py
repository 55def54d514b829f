"""A bundle's archive to a folder, with every entry checked before the first is written. Standard library alone."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from bundle.atomic import to_disk
from bundle.export.manifest import (
    MANIFEST,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    BundleError,
    Manifest,
    check_paths,
    parse_manifest,
)

_IS_ENCRYPTED = 0x1  # PKWARE's APPNOTE 4.4.4, bit 0


def unpack_bundle(archive: str | Path, folder: str | Path) -> Manifest:
    """Unpack the archive's one top folder as ``folder``.

    Args:
        archive: A zip as ``make package`` writes it.
        folder: Made here; what is in it afterwards is on the disk.

    Returns:
        The manifest. The files' checksums are not checked here: see ``verify_bundle``.

    Raises:
        BundleError: If the archive is damaged, holds anything but the files that its manifest lists, at the sizes that
            it lists, or a path that could lead elsewhere.
    """
    folder = Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            top, members = _checked_members(opened.infolist())
            manifest = _read_manifest(opened, members)
            _check_against_manifest(top, members, manifest)
            folder.mkdir()
            for path, member in members.items():
                _write(opened, member, folder / path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BundleError(f"{archive} is damaged or no zip ({error}): download it again") from error
    return manifest


def _checked_members(entries: list[zipfile.ZipInfo]) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """The archive's top folder, and its entries by their path below it."""
    if not 0 < len(entries) <= MAX_FILES:
        raise BundleError(f"the archive has {len(entries)} entries, expected 1 to {MAX_FILES}")
    for entry in entries:
        if entry.is_dir() or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BundleError(f"the archive's entry {entry.filename!r} is no regular file (a link, a folder, a device)")
        if entry.flag_bits & _IS_ENCRYPTED:
            raise BundleError(f"the archive's entry {entry.filename!r} is encrypted")
    names = [entry.filename for entry in entries]
    check_paths(names)
    tops = {name.partition("/")[0] for name in names}
    if len(tops) != 1 or not all("/" in name for name in names):
        raise BundleError(f"the archive must hold one top folder, it holds {sorted(tops)[:3]}")
    return tops.pop(), {entry.filename.partition("/")[2]: entry for entry in entries}


def _read_manifest(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> Manifest:
    if MANIFEST not in members:
        raise BundleError(f"the archive is no packaged bundle: it has no {MANIFEST}")
    if members[MANIFEST].file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"the archive's {MANIFEST} states more than {MAX_MANIFEST_BYTES} bytes")
    return parse_manifest(archive.read(members[MANIFEST]))


def _check_against_manifest(top: str, members: Mapping[str, zipfile.ZipInfo], manifest: Manifest) -> None:
    if top != manifest.name:
        raise BundleError(f"the archive's top folder is {top}, expected the bundle's name, {manifest.name}")
    for path in members.keys() ^ {*manifest.files, MANIFEST}:
        raise BundleError(f"{path} is in the archive or in its {MANIFEST}, but not in both")
    for path, entry in manifest.files.items():
        if members[path].file_size != entry.num_bytes:
            raise BundleError(f"{path} states {members[path].file_size} bytes, its {MANIFEST} {entry.num_bytes}")


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Write one file; ``zipfile`` reads no more than the stated size and compares the CRC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as packed, path.open("xb") as file:
        shutil.copyfileobj(packed, file, 2**20)
    if path.stat().st_size != member.file_size:
        raise BundleError(f"{member.filename} is shorter than it states: download the archive again")
    to_disk(path)
