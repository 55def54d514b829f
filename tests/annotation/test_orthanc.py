"""A real PACS: Orthanc on this machine. Series are listed and labeled, and labels go back as DICOM SEG."""

import gzip
import io
import shutil
import subprocess

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests

from bundle.data.readers import read_clip
from bundle.export.model_card import load_segmenter
from bundle.inference.predictor import ClipInferer
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from bundle.weights import file_sha256
from tests.annotation.conftest import as_inference_sees, make_study
from tests.servers import running_orthanc


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """Orthanc with an RF cine and an XA cine, the RF cine's file, and Orthanc's process."""
    folder = tmp_path_factory.mktemp("orthanc")
    with running_orthanc(folder) as (address, process):
        for name, modality, seed in (("rf.dcm", "RF", 0), ("xa.dcm", "XA", 1)):
            write_dicom(make_study(seed), folder / name, f"p{seed}", modality=modality)
            requests.post(f"{address}/instances", data=(folder / name).read_bytes(), timeout=60).raise_for_status()
        yield address, folder / "rf.dcm", process


def segmentations(address):
    """The SEG objects that are in the PACS."""
    found = []
    for instance in requests.get(f"{address}/instances", timeout=60).json():
        file = requests.get(f"{address}/instances/{instance}/file", timeout=60).content
        dataset = pydicom.dcmread(io.BytesIO(file))
        found += [dataset] if dataset.Modality == "SEG" else []
    return found


def label_with_a_change_of_c2(label, path, folder):
    """Layers in which the first pixels of c2 are taken away, as 3D Slicer sends them."""
    head, _, body = label.read_bytes().partition(b"\n\n")
    layers = np.frombuffer(gzip.decompress(body), np.uint8).reshape((12, 128, 128, 4), order="F").copy()
    of_c2 = np.argwhere(layers == STRUCTURES.index("c2") + 1)
    assert len(of_c2)
    layers[tuple(of_c2[:5].T)] = 0
    path.write_bytes(head + b"\n\n" + gzip.compress(layers.tobytes(order="F")))
    return path


def dciodvfy_errors(dataset, folder):
    program = shutil.which("dciodvfy")
    if program is None:
        return []  # what the SEG writer makes is validated in tests/inference
    dataset.save_as(folder / "fetched.dcm")
    report = subprocess.run([program, str(folder / "fetched.dcm")], capture_output=True, text=True, check=False).stderr
    return [line for line in report.splitlines() if line.startswith("Error")]


def test_a_cine_of_a_pacs_is_listed_labeled_and_its_label_read_again_from_there(
    pacs, start_server, weights, tmp_path_factory
):
    address, file, orthanc = pacs
    folder = tmp_path_factory.mktemp("pacs")
    source = pydicom.dcmread(file)
    clip = read_clip(file)
    segmenter = load_segmenter(weights.model)
    inferer = ClipInferer(segmenter.image_size, batch_size=1, progress=False)
    masks = inferer(as_inference_sees(clip), segmenter).numpy()
    with start_server(f"{address}/dicom-web", folder / "work") as server:
        assert server.request("GET", "/info/").json()["datastore"]["total"] == 1  # the RF series alone
        image = server.request("POST", "/activelearning/first", json={}).json()["id"]
        assert image == source.SeriesInstanceUID

        label = server.label("auto", image, ".seg.nrrd", folder)
        painted = np.asarray(nib.load(server.label("auto", image, ".nii.gz", folder, slice=1)).dataobj)
        assert painted.shape == (128, 128, 4)
        assert {STRUCTURES[value - 1] for value in np.unique(painted) if value} <= set(STRUCTURES)
        click = server.infer("click", image, label="c3", slice=1, foreground=[[60, 60]], result_extension=".nrrd")
        assert click.status_code == 200
        assert server.infer("auto", "1.2.3.4").status_code == 404

        assert server.save(image, label, tag="original").status_code == 200
        assert segmentations(address) == []  # not final yet
        answer = server.save(image, label, client_id="Dr Miller")
        assert answer.status_code == 200, answer.text
        (dataset,) = segmentations(address)

        edited = label_with_a_change_of_c2(label, folder / "edited.seg.nrrd", folder)
        assert server.save(image, edited, client_id="Dr Miller").status_code == 200
        (changed,) = (one for one in segmentations(address) if one.SOPInstanceUID != dataset.SOPInstanceUID)
        assert server.request("DELETE", "/datastore/label", params={"id": image, "tag": "final"}).status_code == 409
        kept = server.request("GET", "/datastore/label/info", params={"label": image, "tag": "final"}).json()

        orthanc.terminate()
        orthanc.wait(timeout=60)
        answer = server.save(image, label)
        assert (answer.status_code, "the PACS does not answer" in answer.json()["detail"]) == (502, True)
        left = server.request("GET", "/datastore/label/info", params={"label": image, "tag": "final"}).json()
        assert left == kept

    assert [item.SegmentAlgorithmType for item in dataset.SegmentSequence] == ["AUTOMATIC"] * 12
    of_model = dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert of_model.AlgorithmName == "vfss-agglomerative-distillation"
    assert file_sha256(weights.model) in of_model.AlgorithmParameters
    kinds = {item.SegmentLabel: item.SegmentAlgorithmType for item in changed.SegmentSequence}
    assert {name for name, kind in kinds.items() if kind != "AUTOMATIC"} == {"c2"}
    assert kinds["c2"] == "SEMIAUTOMATIC"
    for one in (dataset, changed):
        assert one.ContentCreatorName == "Dr Miller"
        assert dciodvfy_errors(one, folder) == []

    segmentation = hd.seg.Segmentation.from_dataset(dataset)
    assert segmentation.SeriesInstanceUID != image
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert (str(segmentation.PatientID), str(segmentation.PatientName)) == (source.PatientID, source.PatientName)
    labels = [segmentation.get_segment_description(number).segment_label for number in range(1, 13)]
    assert labels == list(STRUCTURES)
    read = segmentation.get_pixels_by_source_frame(source.SOPInstanceUID, [1, 2, 3, 4])  # (T, H, W, S)
    np.testing.assert_array_equal(read.transpose(0, 3, 1, 2).astype(bool), masks)
