"""Published weights are fetched once, checked ever after, and their absence is explained."""

import subprocess
import sys
import urllib.request
import zipfile

import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from bundle.teachers import find
from bundle.teachers.download import PUBLISHED, PublishedWeights, download_weights
from bundle.teachers.find import fetch_from_hub
from bundle.weights import WeightsError

ON_HUB = PublishedWeights("mine", "owner/name", "weights.pt", "MIT")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one file; asking for another fails as the real client does."""
    (tmp_path / "cached").write_bytes(b"weights")
    asked = []

    def hf_hub_download(hub_id, name):
        asked.append(name)
        if name != "weights.pt":
            raise EntryNotFoundError(name)
        return str(tmp_path / "cached")

    monkeypatch.setattr(find, "hf_hub_download", hf_hub_download)
    return asked


def test_the_first_file_that_the_hub_has_is_taken(hub, tmp_path):
    assert fetch_from_hub("owner/name", ("other.pt", "weights.pt")) == tmp_path / "cached"
    assert hub == ["other.pt", "weights.pt"]


def test_a_hub_without_the_file_is_named(hub):
    with pytest.raises(FileNotFoundError, match=r"owner/name has none of a\.pt, b\.pt"):
        fetch_from_hub("owner/name", ("a.pt", "b.pt"))


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("offline"), ConnectionError("offline"), ValueError("id")])
def test_an_unreachable_hub_says_what_to_do(monkeypatch, error):
    def offline(hub_id, name):
        raise error

    monkeypatch.setattr(find, "hf_hub_download", offline)
    with pytest.raises(
        FileNotFoundError,
        match=r"owner/name is no file or folder here, .* cannot be reached .* copy it here .* small teachers",
    ):
        fetch_from_hub("owner/name", ("weights.pt",))


def test_weights_are_downloaded_once_and_their_checksum_recorded(hub, tmp_path):
    path = download_weights(ON_HUB, tmp_path / "teachers")
    assert path.read_bytes() == b"weights"
    assert download_weights(ON_HUB, tmp_path / "teachers") == path
    assert hub == ["weights.pt"]
    # printf weights | sha256sum
    recorded = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert path.with_name("weights.pt.sha256").read_text() == f"{recorded}  weights.pt\n"


def test_a_file_that_changed_since_is_refused(hub, tmp_path):
    download_weights(ON_HUB, tmp_path).write_bytes(b"tampered")
    with pytest.raises(WeightsError, match=r"weights\.pt has sha256"):
        download_weights(ON_HUB, tmp_path)


def test_a_published_checksum_is_checked_on_the_first_download(hub, tmp_path):
    with pytest.raises(WeightsError, match="expected 00ff"):
        download_weights(PublishedWeights("mine", "owner/name", "weights.pt", "MIT", sha256="00ff"), tmp_path)


def test_weights_in_an_archive_are_unpacked(monkeypatch, tmp_path):
    def urlretrieve(address, path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/pytorch_model.bin", b"weights")
            archive.writestr("../outside.txt", b"not wanted")

    monkeypatch.setattr(urllib.request, "urlretrieve", urlretrieve)
    zipped = PublishedWeights("zipped", "https://example.org/model.zip", "pytorch_model.bin", "MIT")
    path = download_weights(zipped, tmp_path / "teachers")
    assert path.read_bytes() == b"weights"
    assert not (tmp_path / "outside.txt").exists()
    assert {p.name for p in path.parent.iterdir()} == {"pytorch_model.bin", "pytorch_model.bin.sha256"}


def test_an_unreachable_archive_says_what_to_do(monkeypatch, tmp_path):
    def offline(address, path):
        raise OSError("offline")

    monkeypatch.setattr(urllib.request, "urlretrieve", offline)
    medclip = next(weights for weights in PUBLISHED if weights.teacher == "medclip")
    with pytest.raises(FileNotFoundError, match=r"medclip-vit-pretrained\.zip is no file .* cannot be reached"):
        download_weights(medclip, tmp_path)


def test_the_script_lists_every_source_with_its_licence_and_checksum(bundle_root):
    script = [sys.executable, str(bundle_root / "scripts" / "download_teachers.py")]
    listed = subprocess.run([*script, "--list"], capture_output=True, text=True, check=True).stdout
    assert listed.count("license:") == listed.count("sha256:") == len(PUBLISHED) == 4
    assert all(weights.source in listed for weights in PUBLISHED)
    wrong = subprocess.run([*script, "medsam3"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "no published weights for medsam3; there are medsam2, rad_dino" in wrong.stderr
