"""Verification: every file as published, none missing, none besides; each case in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.export.manifest import BundleError, manifest_digest, verify_bundle
from tests.package.conftest import write_folder


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(BundleError) as caught:
        verify_bundle(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_as_published_is_accepted(published):
    assert verify_bundle(published).version == "0.1.0"


def test_one_changed_bit_is_noticed_at_the_same_size(published):
    weights = published / "models" / "model.pt"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    assert "tiny 0.1.0 as published: models/model.pt changed" in refusal(published)


def test_a_cut_off_file_is_noticed(published):
    os.truncate(published / "models" / "model.pt", 100)
    assert "models/model.pt changed" in refusal(published)


def test_a_missing_file_is_noticed(published):
    (published / "configs" / "inference.json").unlink()
    assert "configs/inference.json missing" in refusal(published)


def test_an_added_file_is_noticed_hidden_ones_too(published):
    (published / "bundle" / "other.py").write_text("import os")
    (published / "configs" / ".hidden.json").write_text("{}")
    assert "bundle/other.py, configs/.hidden.json not listed" in refusal(published)


def test_all_problems_are_said_at_once_and_the_remedy(published):
    (published / "LICENSE").unlink()
    (published / "bundle" / "code.py").write_text("ANSWER = 43\n")
    for number in range(8):
        (published / f"extra{number}").touch()
    words = refusal(published)
    assert "LICENSE missing; bundle/code.py changed; extra0, extra1, extra2, extra3, extra4 and 3 more not l" in words
    assert "Download it again; files of your own belong in runs/ or eval/" in words


def test_a_link_in_a_files_or_a_folders_place_is_noticed(published, tmp_path):
    twin = write_folder(tmp_path / "twin")
    (published / "LICENSE").unlink()
    (published / "LICENSE").symlink_to(twin / "LICENSE")
    assert "LICENSE no regular files" in refusal(published)
    shutil.rmtree(published)
    write_folder(published)
    shutil.rmtree(published / "bundle")
    (published / "bundle").symlink_to(twin / "bundle")
    assert "bundle/code.py missing; bundle no regular files" in refusal(published)


def test_a_pipe_in_a_files_place_is_noticed_and_not_opened(published):
    (published / "LICENSE").unlink()
    os.mkfifo(published / "LICENSE")
    assert "LICENSE no regular files" in refusal(published)


def test_names_in_messages_are_plain(published):
    (published / "a\nb\x1b[31m").touch()
    assert "a\\nb\\x1b[31m not listed" in refusal(published)


def test_a_folder_that_is_no_bundle_is_refused(published, tmp_path):
    assert "there is no folder" in refusal(tmp_path / "nowhere")
    (published / "manifest.json").unlink()
    assert "no packaged bundle: it has no manifest.json" in refusal(published)


def test_a_change_that_its_manifest_goes_along_with_is_noticed_by_the_published_checksum(published, tmp_path):
    sha256 = manifest_digest(published)
    verify_bundle(published, sha256)
    forged = write_folder(tmp_path / "forged", {"bundle/code.py": b"import os\n"})
    verify_bundle(forged)
    assert "expected " + sha256 in refusal(forged, manifest_sha256=sha256)


def test_the_users_folders_are_not_looked_at(published):
    for name in ("runs", "eval"):
        (published / name / "deep").mkdir(parents=True)
        (published / name / "deep" / "results.csv").touch()
    verify_bundle(published)
    (published / "configs" / "runs").mkdir()
    (published / "configs" / "runs" / "a.json").touch()
    assert "configs/runs/a.json not listed" in refusal(published)


def test_compiled_code_that_python_would_run_instead_is_removed(published):
    """A compiled file with the source's time and size is run without a look at the source."""
    source = published / "bundle" / "code.py"
    honest = source.read_bytes()
    source.write_bytes(honest.replace(b"42", b"66"))
    times = (1_000_000_000, 1_000_000_000)
    os.utime(source, times)
    show = "import sys; sys.path.insert(0, 'bundle'); import importlib; print(importlib.import_module('code').ANSWER)"

    def answer() -> str:
        command = [sys.executable, "-I", "-c", show]
        return subprocess.run(command, cwd=published, check=True, capture_output=True, text=True).stdout.strip()

    assert answer() == "66"
    source.write_bytes(honest)
    os.utime(source, times)
    assert answer() == "66"  # the trick works
    verify_bundle(published)
    assert answer() == "42"


def test_the_script_needs_no_package_and_leaves_nothing_behind(published, repository):
    command = [sys.executable, "-I", "-S", str(repository / "scripts" / "verify_bundle.py"), str(published)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tiny 0.1.0: 5 files, all as listed" in done.stdout
    assert manifest_digest(published) in done.stdout
    (published / "LICENSE").unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
