"""An annotator's day, over HTTP: start, list, automatic masks, three clicks, propagate, save, train, promote."""

import gzip
import time

import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from bundle.weights import file_sha256, read_state_dict
from tests.annotation.conftest import make_study

FRAME = 1


@pytest.fixture(scope="module")
def day(start_server, tmp_path_factory):
    """A server on three patients' cines."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "studies").mkdir()
    for number in range(3):
        write_dicom(make_study(number), folder / "studies" / f"p{number}.dcm", f"p{number}")
    with start_server(folder / "studies", folder / "work") as running:
        yield running


def true_labels(number):
    """The phantom's own masks as a label map ``(X, Y, T)``, later structures on top."""
    masks = np.asarray(make_study(number).masks)
    painted = np.zeros((masks.shape[0], *masks.shape[2:]), np.uint8)
    for index in range(len(STRUCTURES)):
        painted[masks[:, index].astype(bool)] = index + 1
    return painted.transpose(2, 1, 0)


def train(server):
    """Train one epoch in the background, as the viewers do, and wait for it."""
    options = {"max_epochs": 1, "batch_size": 2, "learning_rate": 1e-4}
    assert server.request("POST", "/train/auto", json=options).status_code == 200
    deadline = time.monotonic() + 280
    while (status := server.request("GET", "/train/").json())["status"] in ("SUBMITTED", "RUNNING"):
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    return status


def test_from_the_first_image_to_a_promoted_model(day, weights, tmp_path):
    shipped = file_sha256(weights.model)
    objects = day.request("GET", "/datastore/", params={"output": "all"}).json()["objects"]
    assert sorted(objects) == ["p0", "p1", "p2"]
    image = day.request("POST", "/activelearning/first", json={}).json()["id"]
    assert image == "p0"

    automatic = nib.load(day.label("auto", image, ".nii.gz", tmp_path))
    assert automatic.shape == (128, 128, 4)

    points = {"foreground": [], "background": []}
    for kind, point in [("foreground", [64, 70]), ("foreground", [68, 74]), ("background", [10, 10])]:
        points[kind].append(point)
        click = day.infer("click", image, label="mandible", slice=FRAME, result_extension=".nrrd", **points)
        assert click.status_code == 200

    prompt = {"label": "mandible", "slice": FRAME, **points}
    tracked = nib.load(day.label("propagate", image, ".nii.gz", tmp_path, prompts=[prompt]))
    assert set(np.unique(tracked.dataobj)) <= {0, STRUCTURES.index("mandible") + 1}

    for path in ("/train/auto", "/train/"):
        too_early = day.request("POST", path, json={})
        assert (too_early.status_code, day.request("GET", "/train/").status_code) == (409, 404)  # nothing was begun
        assert "final labels of at least two patients, of whom one is held out, got 0" in too_early.json()["detail"]
    for number in range(3):  # what the annotator draws in the end: the truth
        nib.save(nib.Nifti1Image(true_labels(number), np.eye(4)), tmp_path / "drawn.nii.gz")
        assert day.save(f"p{number}", tmp_path / "drawn.nii.gz").status_code == 200
    assert day.request("POST", "/activelearning/uncertainty", json={}).json() == {}  # nothing is left

    key = day.work_dir / "pseudonyms.key"
    assert key.stat().st_mode & 0o777 == 0o600
    status = train(day)
    assert status["status"] == "DONE", status
    assert file_sha256(weights.model) == shipped
    before = day.infer("auto", image, slice=FRAME).content
    assert not (day.work_dir / "served.pt").exists()

    promoted = day.request("POST", "/promote", params={"force": "true"})
    assert promoted.status_code == 200, promoted.text
    scores = promoted.json()
    assert (scores["promoted"], scores["held_out_images"]) == (True, 1)
    assert 0 <= scores["served_mean_dice"] <= 1
    assert file_sha256(weights.model) == shipped
    served, old = read_state_dict(day.work_dir / "served.pt"), read_state_dict(weights.model)
    changed = {name for name, value in served.items() if not torch.equal(value.float(), old[name].float())}
    assert any(name.startswith("structure_queries.") for name in changed)
    assert not any(name.startswith("student.") for name in changed)  # or propagation's memory would fit no longer
    assert file_sha256(day.work_dir / "previous.pt") == shipped

    assert day.infer("auto", image, slice=FRAME).status_code == 200  # without a restart, by the new model
    assert day.request("POST", "/reload").status_code == 200
    info = day.request("GET", "/info/").json()["train_stats"]["auto"]
    assert (info["has_candidate"], [record["action"] for record in info["promotions"]]) == (False, ["promote"])

    assert day.request("POST", "/undo_promotion").status_code == 200
    assert file_sha256(day.work_dir / "served.pt") == shipped
    assert np.array_equal(unpacked(day.infer("auto", image, slice=FRAME).content), unpacked(before))


def test_a_worse_candidate_is_refused_unless_forced(day, weights):
    state = {name: torch.randn_like(value.float()) for name, value in read_state_dict(weights.model).items()}
    state |= {name: value for name, value in read_state_dict(weights.model).items() if "student" in name}
    silent = [name for name in state if name.startswith("structure_queries.quality.layers.2.bias")]
    for name in silent:
        state[name] = torch.full_like(state[name], -50.0)  # every structure is judged absent
    torch.save(state, day.work_dir / "candidate.pt")
    (day.work_dir / "candidate.json").write_bytes(weights.model.with_suffix(".json").read_bytes())
    answer = day.request("POST", "/promote")
    assert answer.status_code == 409, answer.text
    assert "not promoted: on 1 held-out images the candidate's mean Dice is 0.0" in answer.json()["detail"]
    served = file_sha256(day.work_dir / "served.pt")
    assert day.request("POST", "/promote", params={"force": "true"}).json()["forced"] is True
    assert file_sha256(day.work_dir / "previous.pt") == served


def unpacked(content: bytes) -> np.ndarray:
    """Values of a NIfTI file in memory; the bytes of a .gz hold the time."""
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)
