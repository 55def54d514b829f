"""Unpacking: an archive that is not exactly a bundle is refused before anything is written."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from bundle.export.manifest import BundleError
from bundle.export.unpack import unpack_bundle
from bundle.export.verify import verify_bundle
from tests.package.conftest import FILES, NAME, manifest_of, write_archive


def refusal(archive: Path, folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        unpack_bundle(archive, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "inside" / "target"


@pytest.fixture
def archive(tmp_path, target) -> Path:
    target.parent.mkdir()
    return write_archive(tmp_path / "bundle.zip")


def append(archive: Path, member: zipfile.ZipInfo | str, content: bytes = b"x") -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(member, content)


def test_a_bundle_is_unpacked_as_it_was(archive, target):
    assert unpack_bundle(archive, target) == verify_bundle(target) == manifest_of(FILES)


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", f"{NAME}/../../x", f"{NAME}/a\\..\\x", "C:/x", f"{NAME}//x"])
def test_a_path_that_leads_outside_is_refused_and_nothing_is_written(archive, target, name):
    append(archive, name)
    assert "unsafe path" in refusal(archive, target)
    assert list(target.parent.iterdir()) == []


def test_links_devices_and_folders_are_refused(archive, target):
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR):
        member = zipfile.ZipInfo(f"{NAME}/link")
        member.external_attr = (kind | 0o777) << 16
        append(archive, member, b"/etc/passwd")
        assert "no regular file" in refusal(archive, target)
        archive.unlink()
        write_archive(archive)


def test_the_same_path_twice_is_refused_in_any_case_of_letters(archive, target):
    with pytest.warns(UserWarning, match="Duplicate name"):
        append(archive, f"{NAME}/LICENSE")
    assert "twice" in refusal(archive, target)
    archive.unlink()
    write_archive(archive)
    append(archive, f"{NAME}/license")
    assert "twice" in refusal(archive, target)


def test_a_file_that_the_manifest_does_not_list_is_refused(archive, target):
    append(archive, f"{NAME}/bundle/extra.py")
    assert "bundle/extra.py is in the archive or in its manifest.json, but not in both" in refusal(archive, target)
    assert not target.exists()


def test_a_second_top_folder_is_refused(archive, target):
    append(archive, "other/LICENSE")
    assert "one top folder" in refusal(archive, target)


def test_a_top_folder_of_another_name_is_refused(tmp_path, archive, target):
    with zipfile.ZipFile(archive) as opened, zipfile.ZipFile(tmp_path / "renamed.zip", "w") as renamed:
        for member in opened.infolist():
            renamed.writestr(member.filename.replace(NAME, "other", 1), opened.read(member))
    assert "top folder is other, expected the bundle's name, tiny" in refusal(tmp_path / "renamed.zip", target)


def test_an_archive_without_manifest_is_refused(tmp_path, archive, target):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("folder/readme.txt", "hello")
    assert "no manifest.json" in refusal(tmp_path / "other.zip", target)


def test_more_bytes_than_the_manifest_lists_are_refused_before_they_are_unpacked(tmp_path, archive, target):
    """A bomb: small in the archive, large on the disk."""
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr(f"{NAME}/manifest.json", manifest_of(FILES).to_json())
        for name, content in FILES.items():
            bomb.writestr(f"{NAME}/{name}", bytes(50_000_000) if name == "LICENSE" else content)
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    assert "LICENSE states 50000000 bytes, its manifest.json 10" in refusal(tmp_path / "bomb.zip", target)
    assert not target.exists()


def test_a_manifest_that_states_a_bomb_is_refused(tmp_path, archive, target):
    text = manifest_of(FILES).to_json().replace('"bytes": 10,', '"bytes": 99999999999,')
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as bomb:
        bomb.writestr(f"{NAME}/manifest.json", text)
    assert "which no bundle has" in refusal(tmp_path / "bomb.zip", target)


def test_a_file_that_is_larger_than_it_states_is_cut_off_and_refused(tmp_path, target, archive):
    """Both sizes in the archive lie: the manifest's 10 bytes stand there, 50 MB follow."""
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr(f"{NAME}/manifest.json", manifest_of(FILES).to_json())
        for name, content in FILES.items():
            bomb.writestr(f"{NAME}/{name}", bytes(50_000_000) if name == "LICENSE" else content)
    stated, true = struct.pack("<I", len(FILES["LICENSE"])), struct.pack("<I", 50_000_000)
    content = (tmp_path / "bomb.zip").read_bytes()
    assert content.count(true) == 2
    (tmp_path / "bomb.zip").write_bytes(content.replace(true, stated))
    assert "damaged" in refusal(tmp_path / "bomb.zip", target)
    assert sum(file.stat().st_size for file in target.rglob("*") if file.is_file()) < 10_000


def test_an_encrypted_entry_is_refused(archive, target):
    content = bytearray(archive.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1
    archive.write_bytes(content)
    assert "encrypted" in refusal(archive, target)


def test_a_damaged_archive_is_refused(archive, target, tmp_path):
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    assert "damaged or no zip" in refusal(archive, target)
    flipped = bytearray(whole)
    flipped[whole.index(FILES["models/model.pt"]) + 5] ^= 1
    archive.write_bytes(flipped)
    assert "damaged or no zip" in refusal(archive, target)
    (tmp_path / "text.zip").write_text("hello")
    assert "damaged or no zip" in refusal(tmp_path / "text.zip", tmp_path / "other")
