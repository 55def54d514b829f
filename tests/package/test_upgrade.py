"""An upgrade replaces the bundle at once or not at all, keeps the user's files, and refuses what it should."""

import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.export import upgrade
from bundle.export.manifest import BundleError
from bundle.export.upgrade import upgrade_bundle
from bundle.export.verify import verify_bundle
from tests.package.conftest import FILES, serve, write_archive, write_folder


def refusal(*arguments, **options) -> str:
    with pytest.raises((BundleError, FileNotFoundError)) as caught:
        upgrade_bundle(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names_beside(folder: Path) -> set[str]:
    return {path.name for path in folder.parent.iterdir() if path.suffix not in (".zip", ".lock")}


@pytest.fixture
def with_results(published) -> Path:
    """A bundle with a user's results in it."""
    (published / "runs" / "inference" / "a1").mkdir(parents=True)
    (published / "runs" / "inference" / "a1" / "masks.dcm").write_bytes(b"masks")
    (published / "runs" / "latest").symlink_to("inference")
    return published


def test_the_new_version_takes_the_place_of_the_old_one_which_stays_as_a_backup(with_results, archive_with):
    done = upgrade_bundle(archive_with("0.2.0", bundle__new=b"x"), with_results)
    assert (done.old_version, done.new_version, done.kept) == ("0.1.0", "0.2.0", ("runs",))
    assert verify_bundle(with_results).version == "0.2.0"
    assert done.backup == with_results.with_name("tiny.previous")
    assert verify_bundle(done.backup).version == "0.1.0"
    assert names_beside(with_results) == {"tiny", "tiny.previous"}


def test_the_users_files_are_in_the_new_version_and_take_no_space_twice(with_results, archive_with):
    before = (with_results / "runs" / "inference" / "a1" / "masks.dcm").stat().st_ino
    upgrade_bundle(archive_with("0.2.0"), with_results)
    assert (with_results / "runs" / "inference" / "a1" / "masks.dcm").stat().st_ino == before
    assert os.readlink(with_results / "runs" / "latest") == "inference"


def test_the_users_folder_may_be_a_link_to_a_larger_disk(published, tmp_path, archive_with):
    (tmp_path / "large").mkdir()
    (published / "runs").symlink_to(tmp_path / "large")
    assert upgrade_bundle(archive_with("0.2.0"), published).kept == ("runs",)
    assert (published / "runs").resolve() == tmp_path / "large"


def test_where_links_are_impossible_the_users_files_are_copied(with_results, archive_with, monkeypatch):
    def no_links(*_, **__):
        raise PermissionError("this file system has no hard links")

    monkeypatch.setattr(os, "link", no_links)
    upgrade_bundle(archive_with("0.2.0"), with_results)
    assert (with_results / "runs" / "inference" / "a1" / "masks.dcm").read_bytes() == b"masks"


def test_only_one_backup_is_kept(published, archive_with):
    for version in ("0.2.0", "0.3.0", "0.10.0"):
        upgrade_bundle(archive_with(version), published)
    assert verify_bundle(published).version == "0.10.0"
    assert verify_bundle(published.with_name("tiny.previous")).version == "0.3.0"


def test_the_version_that_is_there_is_left_alone(published, archive_with):
    before = published.stat().st_ino
    assert upgrade_bundle(archive_with("0.1.0"), published) is None
    assert published.stat().st_ino == before
    assert names_beside(published) == {"tiny"}
    assert "a version is published once" in refusal(archive_with("0.1.0", other=b"x"), published)


def test_a_downgrade_needs_a_word(published, archive_with):
    upgrade_bundle(archive_with("0.10.0"), published)
    assert "0.9.0 is older than 0.10.0" in refusal(archive_with("0.9.0"), published)
    assert verify_bundle(published).version == "0.10.0"
    assert upgrade_bundle(archive_with("0.9.0"), published, allow_downgrade=True).new_version == "0.9.0"


def test_a_bundle_that_the_site_has_changed_is_not_replaced_silently(published, archive_with):
    (published / "models" / "model.pt").write_bytes(b"our own training")
    assert "models/model.pt changed" in refusal(archive_with("0.2.0"), published)
    assert (published / "models" / "model.pt").read_bytes() == b"our own training"
    done = upgrade_bundle(archive_with("0.2.0"), published, discard_changes=True)
    assert verify_bundle(published).version == "0.2.0"
    assert (done.backup / "models" / "model.pt").read_bytes() == b"our own training"


def test_a_damaged_bundle_can_be_repaired_with_its_own_version(published, archive_with):
    (published / "bundle" / "code.py").unlink()
    assert "bundle/code.py missing" in refusal(archive_with("0.1.0"), published)
    assert upgrade_bundle(archive_with("0.1.0"), published, discard_changes=True).new_version == "0.1.0"
    verify_bundle(published)


def test_new_requirements_are_reported(published, archive_with, tmp_path):
    assert not upgrade_bundle(archive_with("0.2.0"), published).are_requirements_new
    other = write_archive(tmp_path / "other.zip", {**FILES, "requirements.txt": b"torch==3.0.0\n"}, "0.3.0")
    assert upgrade_bundle(other, published).are_requirements_new


@pytest.mark.parametrize("damage", ["cut", "flip", "tampered", "other bundle"])
def test_a_bad_archive_changes_nothing(with_results, archive_with, tmp_path, damage):
    archive = archive_with("0.2.0")
    content = archive.read_bytes()
    if damage == "cut":
        archive.write_bytes(content[:-100])
    elif damage == "flip":
        archive.write_bytes(content.replace(b"ANSWER = 42", b"ANSWER = 43"))
    elif damage == "tampered":  # with a checksum of the zip format that fits, so that only the manifest tells
        shutil.move(archive, tmp_path / "old.zip")
        tampered = write_archive(archive, {**FILES, "bundle/code.py": b"ANSWER = 43\n"}, "0.2.0").read_bytes()
        honest = hashlib.sha256(FILES["bundle/code.py"]).hexdigest().encode()
        forged = hashlib.sha256(b"ANSWER = 43\n").hexdigest().encode()
        archive.write_bytes(without_crc_of_manifest(tampered, forged, honest))
    else:
        archive.write_bytes(content.replace(b"tiny", b"toys"))
    before = {path: path.read_bytes() for path in with_results.rglob("*") if path.is_file()}
    refusal(archive, with_results)
    assert {path: path.read_bytes() for path in with_results.rglob("*") if path.is_file()} == before
    assert {"tiny"} == {path.name for path in tmp_path.iterdir() if path.is_dir()}


def without_crc_of_manifest(content: bytes, old: bytes, new: bytes) -> bytes:
    """Replace bytes inside an archive's manifest, and its CRC with it."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as opened, zipfile.ZipFile(out, "w") as rewritten:
        for member in opened.infolist():
            rewritten.writestr(member.filename, opened.read(member).replace(old, new))
    return out.getvalue()


def test_an_archive_with_another_checksum_than_the_published_one_is_refused(published, archive_with):
    archive = archive_with("0.2.0")
    assert "expected " + "0" * 64 in refusal(archive, published, sha256="0" * 64)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert upgrade_bundle(archive, published, sha256=sha256.upper()).new_version == "0.2.0"


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path, archive_with):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("text")
    for discard in (False, True):
        assert "no packaged bundle" in refusal(archive_with("0.2.0"), tmp_path / "thesis", discard_changes=discard)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "text"
    assert "monai.bundle download" in refusal(archive_with("0.2.0"), tmp_path / "nowhere")
    assert "there is no archive" in refusal(tmp_path / "gone.zip", write_folder(tmp_path / "tiny"))


def test_two_upgrades_at_once_are_refused(published, archive_with):
    with upgrade._locked(published.with_name(".tiny.lock")):
        assert "another upgrade is running" in refusal(archive_with("0.2.0"), published)
    assert upgrade_bundle(archive_with("0.2.0"), published)


# Killed


def die(*_, **__) -> None:
    os._exit(137)


def killed_at(step: str, archive: Path, folder: Path) -> None:
    """In a process of its own: an upgrade whose process ends at a step, without any clean-up."""
    module, name, when = step.split(" ")
    owner = {"upgrade": upgrade, "Path": Path}[module]
    original = getattr(owner, name)

    def then_die(*arguments, **options):
        original(*arguments, **options)
        die()

    setattr(owner, name, die if when == "before" else then_die)
    upgrade_bundle(archive, folder)
    os._exit(0)


STEPS = {
    "upgrade unpack_bundle before": "0.1.0",
    "upgrade unpack_bundle after": "0.1.0",
    "upgrade _carry after": "0.1.0",
    "upgrade _make_ready after": "0.1.0",
    "upgrade rename_exchange before": "0.1.0",
    "upgrade rename_exchange after": "0.2.0",
    "upgrade _set_aside before": "0.2.0",
    "Path rename after": "0.2.0",
}
"""Where the process is killed, and the version that is in place then."""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_a_whole_bundle_is_in_place_and_the_same_command_finishes(step, with_results, archive_with):
    archive = archive_with("0.2.0")
    process = multiprocessing.get_context("fork").Process(target=killed_at, args=(step, archive, with_results))
    process.start()
    process.join(60)
    assert process.exitcode == 137
    assert verify_bundle(with_results).version == STEPS[step]
    assert (with_results / "runs" / "inference" / "a1" / "masks.dcm").read_bytes() == b"masks"
    assert "no archive" in refusal(with_results.with_name("gone.zip"), with_results)
    assert names_beside(with_results) == ({"tiny"} if STEPS[step] == "0.1.0" else {"tiny", "tiny.previous"})
    done = upgrade_bundle(archive, with_results)
    assert (done is None) == (STEPS[step] == "0.2.0")
    assert verify_bundle(with_results).version == "0.2.0"
    assert verify_bundle(with_results.with_name("tiny.previous")).version == "0.1.0"
    assert (with_results / "runs" / "inference" / "a1" / "masks.dcm").read_bytes() == b"masks"
    assert names_beside(with_results) == {"tiny", "tiny.previous"}


def test_results_written_between_the_copy_and_the_exchange_are_not_lost(with_results, archive_with, monkeypatch):
    exchange = upgrade.rename_exchange

    def write_first(folder: Path, new: Path) -> bool:
        (folder / "runs" / "late.csv").write_text("late")
        return exchange(folder, new)

    monkeypatch.setattr(upgrade, "rename_exchange", write_first)
    upgrade_bundle(archive_with("0.2.0"), with_results)
    assert (with_results / "runs" / "late.csv").read_text() == "late"


def killed_between_two_renames(archive: Path, folder: Path) -> None:
    upgrade.rename_exchange = lambda *_: False
    killed_at("Path rename after", archive, folder)


def test_where_folders_cannot_be_exchanged_two_renames_do_it(with_results, archive_with, monkeypatch):
    archive = archive_with("0.2.0")
    process = multiprocessing.get_context("fork").Process(
        target=killed_between_two_renames, args=(archive, with_results)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 137
    assert not with_results.exists()  # the one moment that an exchange does not have
    monkeypatch.setattr(upgrade, "rename_exchange", lambda *_: False)
    assert upgrade_bundle(archive, with_results).old_version == "0.1.0"
    assert verify_bundle(with_results).version == "0.2.0"
    assert verify_bundle(with_results.with_name("tiny.previous")).version == "0.1.0"
    assert (with_results / "runs" / "inference" / "a1" / "masks.dcm").read_bytes() == b"masks"


def test_folders_are_exchanged_in_one_step_here(tmp_path):
    write_folder(tmp_path / "a", version="0.1.0")
    write_folder(tmp_path / "b", version="0.2.0")
    if not upgrade.rename_exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange folders")
    assert verify_bundle(tmp_path / "a").version == "0.2.0"
    with pytest.raises(FileNotFoundError):
        upgrade.rename_exchange(tmp_path / "a", tmp_path / "gone")


# Over HTTP


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """A server of the test's folder on the loopback address."""
    with serve(tmp_path) as url:
        yield url


def test_the_archive_may_be_an_address(published, archive_with, address):
    archive_with("0.2.0")
    assert upgrade_bundle(f"{address}/tiny-0.2.0.zip", published).new_version == "0.2.0"
    assert "cannot be fetched: HTTP Error 404" in refusal(f"{address}/gone.zip", published)


def test_addresses_that_cannot_be_trusted_are_refused_before_anything_is_fetched(published):
    assert "http:// can be changed on its way" in refusal("http://hospital.example/tiny.zip", published)
    for scheme in ("ftp", "file", "data"):
        assert f"got {scheme}://" in refusal(f"{scheme}://example/tiny.zip", published)


def test_the_script_needs_no_package(published, archive_with, repository):
    command = [sys.executable, "-I", "-S", str(repository / "scripts" / "upgrade_bundle.py")]
    command += [str(archive_with("0.2.0")), str(published)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.1.0 -> 0.2.0; kept: nothing; before: ")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "this version is there already\n")
