"""The input check of the shipped model: swallows are accepted, whichever way they face, and nothing else is."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import skimage.data
import torch
from PIL import Image

from bundle.data.readers import read_clip
from bundle.export.model_card import load_segmenter
from bundle.inference.checked_studies import MIRRORED
from bundle.inference.folder import study_key
from bundle.inference.input_check import EVERY, InputCheck, load_input_check, statistics_path
from bundle.inference.predictor import ClipInferer
from bundle.inference.run import StudyOptions, segment_studies
from bundle.metrics.kinematics.verdict import UNLIKE
from bundle.paths import ROOT
from bundle.phantom.study import generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from bundle.transforms.field_of_view import Window
from bundle.weights import file_sha256

MODEL = ROOT / "models" / "model.pt"
PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "horse"),
    *("hubble_deep_field", "immunohistochemistry", "moon", "page", "rocket", "text"),
)
SIZE = 256


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter(MODEL)


@pytest.fixture(scope="module")
def check() -> InputCheck:
    return load_input_check(MODEL)


@pytest.fixture
def segment(tmp_path, segmenter, check):
    """Studies of a file or folder through the product, with the shipped model."""

    def run(source: Path, outputs=("measures",), writes_refused=False, **options):
        used = load_input_check(MODEL, writes_refused) if writes_refused else check
        options = StudyOptions(input_check=used, **options)
        inferer = ClipInferer(segmenter.image_size, progress=False)
        return segment_studies(source, tmp_path / "out", segmenter, inferer, STRUCTURES, outputs, None, options)

    return run


def write_pictures(folder: Path, frames: np.ndarray) -> Path:
    """A film ``(T, H, W)`` in [0, 1] as a folder of pictures."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray((frame * 255).round().astype(np.uint8)).save(folder / f"frame{index:03d}.png")
    return folder


def photograph(name: str) -> np.ndarray:
    """One of scikit-image's pictures ``(H, W)``, gray, in [0, 1]."""
    picture = np.asarray(getattr(skimage.data, name)(), np.float32)
    picture = picture[..., :3].mean(axis=-1) if picture.ndim == 3 else picture
    return picture / picture.max()


def others() -> dict[str, np.ndarray]:
    """Pictures ``(H, W)`` that are no lateral swallow, by name."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    phantom = generate_study(91_000_001, SIZE, 1).frames[0, 0]
    return {
        "noise": random.random((SIZE, SIZE)),
        "faint noise": 0.5 + 0.1 * random.standard_normal((SIZE, SIZE)).clip(-3, 3),
        "black": np.zeros((SIZE, SIZE)),
        "gray": np.full((SIZE, SIZE), 0.5),
        "white": np.ones((SIZE, SIZE)),
        "a wedge": columns,
        "a disc": ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.16) * 0.7,
        "stripes": (np.sin(columns * 40) + 1) / 2,
        "a swallow upside down": phantom[::-1],
        "a swallow on its side": phantom.T,
        **{name: photograph(name) for name in PHOTOGRAPHS},
    }


def test_the_shipped_statistics_are_small_and_belong_to_the_shipped_weights(check):
    path = statistics_path(MODEL)
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size == card["bytes"] < 1_000_000
    assert (card["sha256"], card["checkpoint_sha256"]) == (file_sha256(path), file_sha256(MODEL))
    assert (check.off, check.sha256) == ("", card["sha256"])


def test_a_model_without_statistics_of_its_own_has_no_check_and_every_study_says_so(tmp_path, segmenter, caplog):
    for path in (
        MODEL,
        MODEL.with_suffix(".json"),
        statistics_path(MODEL),
        statistics_path(MODEL).with_suffix(".json"),
    ):
        shutil.copy(path, tmp_path)
    weights = torch.load(MODEL, weights_only=True)
    weights["structure_queries.queries.weight"] += 1
    torch.save(weights, tmp_path / "model.pt")
    other = load_input_check(tmp_path / "model.pt")
    assert "were made for other weights" in other.off
    statistics_path(tmp_path / "model.pt").unlink()
    assert "are not beside the model" in load_input_check(tmp_path / "model.pt").off
    assert "the input check is off" in caplog.text
    film = write_pictures(tmp_path / "film", generate_study(91_000_002, SIZE, 2).frames[:, 0])
    inferer = ClipInferer(segmenter.image_size, progress=False)
    options = StudyOptions(input_check=other)
    results = segment_studies(film, tmp_path / "out", segmenter, inferer, STRUCTURES, ["areas"], None, options)
    assert f"its pictures were not compared with the training's: {other.off}" in results.studies[0].notes


def test_damaged_statistics_are_an_error(tmp_path):
    for path in (MODEL, MODEL.with_suffix(".json"), statistics_path(MODEL).with_suffix(".json")):
        shutil.copy(path, tmp_path)
    content = bytearray(statistics_path(MODEL).read_bytes())
    content[-1] ^= 1
    statistics_path(tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match="another version or damaged"):
        load_input_check(tmp_path / "model.pt")


@pytest.mark.parametrize("name", sorted(others()))
def test_a_picture_that_is_no_swallow_is_refused_and_no_mask_is_written(name, tmp_path, segment):
    results = segment(write_pictures(tmp_path / "film", others()[name][None]), ("areas", "png", "measures"))
    (study,) = results.studies
    assert (study.status, study.outputs) == ("no swallow", ("measures.csv", "measures.json"))
    assert study.reason.startswith("this does not look like a lateral swallow study: ")
    assert results.exit_status == 0


@pytest.mark.parametrize("domain", ["standard", "hard"])
def test_swallows_are_accepted_and_measured(domain, tmp_path, segment):
    for seed in (91_000_003, 91_000_004):
        write_pictures(tmp_path / "films" / str(seed), generate_study(seed, 512, 3, domain=domain).frames[:, 0])
    results = segment(tmp_path / "films", ("areas",))
    assert [(study.status, study.reason, study.notes) for study in results.studies] == [("done", "", ())] * 2


def test_a_swallow_that_faces_the_other_way_has_the_masks_of_its_mirror_image_turned_back(tmp_path, segment):
    frames = generate_study(91_000_005, 512, 2).frames[:, 0]
    for name, seen in (("as it is", frames), ("turned", frames[..., ::-1])):
        write_pictures(tmp_path / "films" / name, seen)
    results = segment(tmp_path / "films", ("png", "report"))
    notes = {study.source.name: study.notes for study in results.studies}
    assert notes == {"as it is": (), "turned": (MIRRORED,)}
    folders = {name: tmp_path / "out" / study_key(tmp_path / "films" / name) for name in notes}
    for structure in ("c2", "mandible"):
        one, other = (
            np.asarray(Image.open(folder / "masks" / structure / "frame_00001.png")) for folder in folders.values()
        )
        assert one.any()
        np.testing.assert_array_equal(one, other[:, ::-1])
    assert MIRRORED.capitalize() in (folders["turned"] / "report.html").read_text()


def test_what_was_decided_of_a_film_and_its_frames_stands_in_the_record_the_table_and_the_report(tmp_path, segment):
    film = write_pictures(tmp_path / "film", np.stack([np.roll(photograph("camera"), n, 0) for n in range(EVERY + 1)]))
    results = segment(film, ("measures", "report", "nifti"))
    folder = tmp_path / "out" / study_key(film)
    record = json.loads((folder / "study.json").read_text())
    decided = record["input_check"]
    assert decided["refusal"] == record["reason"] == results.studies[0].reason
    assert decided["frames"] == list(range(1, EVERY + 2))
    assert [distance is not None for distance in decided["distances"]] == [True, *[False] * (EVERY - 1), True]
    assert decided["distances"][0] > 1
    assert decided["refused"][0] == UNLIKE
    (row,) = csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines())
    assert (row["status"], row["reason"]) == ("no swallow", decided["refusal"])
    assert decided["refusal"][1:] in (folder / "report.html").read_text()
    assert json.loads((folder / "measures.json").read_text())["no_swallow"] == decided["refusal"]
    assert not (folder / "masks.nii.gz").exists()


def test_masks_of_a_refused_study_are_written_if_the_user_asks_and_the_seg_says_what_they_are(tmp_path, segment):
    cine = tmp_path / "cine.dcm"
    study = generate_study(91_000_006, SIZE, 2)
    upside_down = study.stored[:, ::-1].copy()
    write_dicom(study, cine, "JANE")
    dataset = pydicom.dcmread(cine)
    dataset.PixelData = upside_down.tobytes()
    dataset.save_as(cine)
    segment(cine, ("seg",), writes_refused=True)
    seg = pydicom.dcmread(tmp_path / "out" / study_key(cine) / "masks.dcm")
    assert seg.SeriesDescription == "Automatic masks of what is no lateral swallow study; not for use"
    assert "input check: this does not look like a lateral swallow study" in seg.ImageComments


def test_a_refused_study_is_not_done_again(tmp_path, segment):
    film = write_pictures(tmp_path / "film", photograph("coins")[None])
    first, again = (segment(film, settings={"a": 1}).studies[0] for _ in range(2))
    assert again.reason == f"{first.reason}; finished by an earlier run"
    assert again.status == first.status == "no swallow"


def test_every_eighth_frame_is_looked_at_wherever_a_chunk_begins(check):
    frames = generate_study(91_000_007, 64, 20).frames
    chunks = [check.look(frames[first : first + 5], first, Window.whole(64, 64)) for first in range(0, 20, 5)]
    assert [look.frame for looks in chunks for look in looks] == [0, 8, 16]


def test_nothing_can_be_seen_in_black_white_or_gray_frames(check):
    frames = np.stack([np.full((1, 64, 64), value, np.float32) for value in (0.0, 0.4, 1.0)]).repeat(EVERY, axis=0)
    looks = check.look(frames, 0, Window.whole(64, 64))
    assert [look.exposure for look in looks] == ["empty"] * 3
    saturated = generate_study(91_000_008, 64, 1).frames * 5
    assert check.look(saturated.clip(0, 1), 0, Window.whole(64, 64))[0].exposure == "over-exposed"


@pytest.fixture(scope="module")
def real(shared_dir) -> dict[str, list[np.ndarray]]:
    """Real pictures that are no swallow, a few of each set."""
    data = shared_dir / "data"
    chest = [
        *sorted((data / "cxr_lungs/images").glob("*.png"))[::60],
        *sorted((data / "jsrt/images").glob("*.png"))[::30],
    ]
    cine, shoulder = (
        read_clip(data / "dicom_real" / name).frames for name in ("xa_coronary_cine.dcm", "rf_shoulder.dcm")
    )
    slices = [np.load(path)["imgs"][7] / 255 for path in sorted((data / "ct_lesions").glob("*.npz"))]
    return {
        "chest": [np.asarray(Image.open(path).convert("L")) / 255 for path in chest],
        "coronary": list(cine[::20, 0]),
        "shoulder": list(shoulder[:, 0]),
        "ct": slices,
    }


@pytest.mark.parametrize("name", ["chest", "coronary", "shoulder", "ct"])
def test_a_real_picture_that_is_no_swallow_is_refused(name, real, tmp_path, segment):
    for index, picture in enumerate(real[name]):
        write_pictures(tmp_path / "films" / str(index), picture[None])
    results = segment(tmp_path / "films")
    assert [study.status for study in results.studies] == ["no swallow"] * len(real[name])


def test_a_real_swallow_is_accepted(shared_dir, segment):
    (study,) = segment(shared_dir / "data/vfss_real/healthy_swallow.avi").studies
    assert (study.status, study.reason) == ("done", "")
