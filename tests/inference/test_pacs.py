"""From PACS to PACS with a real Orthanc that asks for a password: fetched, segmented, sent back, nothing told."""

import csv
import io
import json
import logging
import subprocess
import time

import highdicom as hd
import numpy as np
import pydicom
import pytest
import requests

from bundle.command.app import main
from bundle.data.pacs_address import PASSWORD, TOKEN, USER, PacsAddress
from bundle.data.readers import read_clip
from bundle.inference.delivery import Delivery
from bundle.inference.incoming import FETCHED, find_input
from bundle.inference.pacs import Pacs, PacsError
from bundle.inference.results import StudyResults
from bundle.inference.save import SaveStudyd
from bundle.inference.study_dataset import FIRST_FRAME, StudyDataset
from bundle.phantom.study import generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from tests.inference.test_dicom_seg import DCIODVFY
from tests.servers import free_port, running_orthanc, tls_in_front_of

NAME, SECRET = "segmenter", "correct-horse-7"
OUTPUTS = ["measures", "seg", "sr", "capture"]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """Address of a PACS with two studies, an RF cine and an XA cine, the files, and the true masks of both."""
    folder = tmp_path_factory.mktemp("orthanc")
    with running_orthanc(folder, {NAME: SECRET}) as (address, _):
        files, phantom = [], generate_study(seed=3, size=96, num_frames=24)
        for name, modality, seed in (("rf.dcm", "RF", 0), ("xa.dcm", "XA", 1)):
            write_dicom(phantom, folder / name, f"JANE_{seed}", modality=modality)
            data = (folder / name).read_bytes()
            requests.post(f"{address}/instances", data=data, auth=(NAME, SECRET), timeout=60).raise_for_status()
            files.append(folder / name)
        yield address, files, phantom.masks.astype(bool)


@pytest.fixture
def user(monkeypatch):
    """The right user in the environment."""
    monkeypatch.setenv(USER, NAME)
    monkeypatch.setenv(PASSWORD, SECRET)


def run(source, send_to, output_dir, masks):
    """What the config does, with true masks in the network's place."""
    found = find_input(source, output_dir)
    delivery = Delivery(send_to, output_dir, OUTPUTS)
    results = StudyResults(output_dir, settings={"masks": "true"})
    save = SaveStudyd(STRUCTURES, results, OUTPUTS, progress=False)
    for chunk in StudyDataset(found.studies, results, progress=False, finished=delivery.finish):
        first = chunk[FIRST_FRAME]
        save({**chunk, "pred": masks[first : first + len(chunk["image"])]})
    return results, delivery


def stored(address, modality):
    """Objects of a modality that are in the PACS."""
    found, auth = [], (NAME, SECRET)
    for instance in requests.get(f"{address}/instances", auth=auth, timeout=60).json():
        file = requests.get(f"{address}/instances/{instance}/file", auth=auth, timeout=60).content
        dataset = pydicom.dcmread(io.BytesIO(file))
        found += [dataset] if dataset.Modality == modality else []
    return found


def address_of(orthanc, file, **more):
    filters = {"StudyInstanceUID": pydicom.dcmread(file).StudyInstanceUID, **more}
    return f"{orthanc}/dicom-web?" + "&".join(f"{key}={value}" for key, value in filters.items())


def test_a_study_goes_from_the_pacs_to_the_pacs_and_once(orthanc, user, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    address, (rf, _), masks = orthanc
    out = tmp_path / "out"
    results, delivery = run(address_of(address, rf), f"{address}/dicom-web", out, masks)
    delivery.exit_if_unsent()
    assert [study.status for study in results.studies] == ["done"]
    (seg,), (report,), (film,) = (stored(address, modality) for modality in ("SEG", "SR", "OT"))
    source = pydicom.dcmread(rf)
    for sent in (seg, report, film):
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
            assert sent.get(keyword) == source.get(keyword)
        assert "PatientIdentityRemoved" not in sent
        if DCIODVFY:
            sent.save_as(tmp_path / "sent.dcm")
            said = subprocess.run([DCIODVFY, tmp_path / "sent.dcm"], capture_output=True, text=True, check=False).stderr
            assert [line for line in said.splitlines() if line.startswith("Error")] == []
    numbers = range(1, len(masks) + 1)
    there = hd.seg.Segmentation.from_dataset(seg).get_pixels_by_source_frame(source.SOPInstanceUID, numbers)
    np.testing.assert_array_equal(there, masks.transpose(0, 2, 3, 1))
    (group,) = hd.sr.ComprehensiveSR.from_dataset(report).content.get_image_measurement_groups()
    table = csv.DictReader((out / results.studies[0].key / "measures.csv").read_text().splitlines())
    expected = {row["measure"]: float(row["value"]) for row in table if row["value"]}
    assert {one.name.value: one.value for one in group.get_measurements()} == expected
    assert len(expected) > 10

    again, delivery = run(address_of(address, rf), f"{address}/dicom-web", out, masks)
    assert [study.reason for study in again.studies] == ["finished by an earlier run"]
    assert len(stored(address, "SEG")) == 1

    told = "".join(capfd.readouterr()) + caplog.text
    assert SECRET not in told
    assert source.StudyInstanceUID not in told
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert SECRET.encode() not in file.read_bytes()
        assert b"JANE_0" not in file.read_bytes()
    assert not list(out.glob(f"{FETCHED}*"))


def test_a_series_or_a_modality_can_be_asked_for(orthanc, user, tmp_path):
    address, (rf, xa), _ = orthanc
    series = {str(pydicom.dcmread(file).SeriesInstanceUID) for file in (rf, xa)}
    assert {one for _, one in Pacs(f"{address}/dicom-web").find_series()} == series
    (found,) = Pacs(f"{address}/dicom-web?Modality=XA").find_series()
    assert found[1] == pydicom.dcmread(xa).SeriesInstanceUID
    (study,) = find_input(address_of(address, rf, SeriesInstanceUID=pydicom.dcmread(rf).SeriesInstanceUID), tmp_path)[0]
    assert not study.exists()  # a series is there while it is segmented, and no longer


def test_what_a_killed_run_has_fetched_goes(orthanc, user, tmp_path):
    address, (rf, _), _ = orthanc
    left = tmp_path / f"{FETCHED}left"
    left.mkdir()
    (left / "000000.dcm").write_bytes(b"of a patient")
    assert len(list(find_input(address_of(address, rf), tmp_path).studies)) == 1
    assert list(tmp_path.iterdir()) == []


def test_results_that_a_pacs_did_not_take_are_sent_by_the_next_run(orthanc, user, tmp_path):
    address, (_, xa), masks = orthanc
    away = f"http://127.0.0.1:{free_port()}/dicom-web"
    _, delivery = run(xa, away, tmp_path / "out", masks)
    with pytest.raises(SystemExit, match=r"results of 1 studies were not sent, the PACS at .* does not answer"):
        delivery.exit_if_unsent()
    before = len(stored(address, "SEG"))
    results, delivery = run(xa, f"{address}/dicom-web", tmp_path / "out", masks)
    delivery.exit_if_unsent()
    assert results.studies[0].reason == "finished by an earlier run"
    assert len(stored(address, "SEG")) == before + 1
    (key,) = (study.key for study in results.studies)
    assert len(json.loads((tmp_path / "out" / key / "sent.json").read_text())["instances"]) == 3


# One line, quickly


@pytest.mark.parametrize(("name", "secret"), [(NAME, "wrong-secret-1"), ("nobody", SECRET)])
def test_a_wrong_password_is_one_line_without_it(orthanc, monkeypatch, name, secret):
    address, (rf, _), _ = orthanc
    monkeypatch.setenv(USER, name)
    monkeypatch.setenv(PASSWORD, secret)
    with pytest.raises(PacsError, match=rf"refuses the user: set {USER} and {PASSWORD}, or {TOKEN}") as caught:
        Pacs(address_of(address, rf)).find_series()
    assert secret not in str(caught.value)


def test_an_unknown_study_is_one_line(orthanc, user):
    with pytest.raises(PacsError, match="has no series of modality RF or XA for this address"):
        Pacs(f"{orthanc[0]}/dicom-web?StudyInstanceUID=1.2.3.4").find_series()


def test_a_pacs_that_is_away_is_one_line_at_once(user):
    start = time.monotonic()
    with pytest.raises(PacsError, match="does not answer: check the address, and that the PACS runs"):
        Pacs(f"http://127.0.0.1:{free_port()}/dicom-web").check()
    assert time.monotonic() - start < 5


def test_an_address_without_a_dicomweb_service_is_one_line(orthanc, user):
    with pytest.raises(PacsError, match="check the path of the address"):
        Pacs(f"{orthanc[0]}/system").check()


def test_the_command_says_so_in_one_line_too(orthanc, tmp_path, capsys):
    address, (rf, _), _ = orthanc
    with pytest.raises(SystemExit):
        main(["segment", address_of(address, rf), "--output", str(tmp_path / "out"), "--device", "cpu"])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"error: the PACS at {address} refuses the user")


# TLS


def test_a_certificate_is_checked(orthanc, user, tmp_path, monkeypatch):
    address, (rf, _), _ = orthanc
    with tls_in_front_of(address, tmp_path) as (https, certificate):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
        with pytest.raises(PacsError, match="a certificate that is not trusted: name the file of its authority"):
            Pacs(f"{https}/dicom-web").check()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        pacs = Pacs(address_of(https, rf))
        ((study, series),) = pacs.find_series()
        assert pacs.fetch(study, series, tmp_path) == 1
        np.testing.assert_array_equal(read_clip(tmp_path / "000000.dcm").frames, read_clip(rf).frames)


def test_a_password_does_not_go_out_in_the_clear(user):
    with pytest.raises(ValueError, match=r"a password over http:// can be read on its way to http://pacs\.example"):
        Pacs("http://pacs.example/dicom-web")
    Pacs("https://pacs.example/dicom-web")


def test_a_token_is_sent_in_place_of_a_password(monkeypatch):
    monkeypatch.setenv(TOKEN, "a-long-token")
    pacs = Pacs("https://pacs.example/dicom-web")
    request = pacs._client._session.prepare_request(requests.Request("GET", "https://pacs.example/dicom-web/studies"))
    assert request.headers["Authorization"] == "Bearer a-long-token"
    monkeypatch.setenv(USER, NAME)
    with pytest.raises(ValueError, match="or VFSS_PACS_TOKEN alone"):
        Pacs("https://pacs.example/dicom-web")


# Addresses


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://user:secret@pacs.example/dicom-web", "holds no user or password"),
        ("https:///dicom-web", "is like https://host/dicom-web"),
        ("https://pacs.example/dicom-web?PatientName=DOE", "is searched by StudyInstanceUID, .* got PatientName"),
        ("https://pacs.example/dicom-web?StudyInstanceUID=", "whole values, such as a UID of digits and dots"),
        ("https://pacs.example/dicom-web?StudyInstanceUID=1.2.*", "whole values, such as a UID of digits and dots"),
    ],
)
def test_a_wrong_address_is_refused_without_repeating_it(address, words):
    with pytest.raises(ValueError, match=words) as caught:
        PacsAddress.parse(address)
    assert "secret" not in str(caught.value)
    assert "DOE" not in str(caught.value)


def test_an_output_for_a_pacs_must_be_among_them(tmp_path):
    with pytest.raises(ValueError, match="send_to needs one of seg, sr, capture among the outputs, got nifti"):
        Delivery("https://pacs.example/dicom-web", tmp_path, ["nifti"])
