"""A folder of chest X-rays and lung masks becomes a data list, split by patient."""

import numpy as np
import pytest
from PIL import Image

from bundle.data.datalist import SECTIONS, load_datalist, read_datalist
from bundle.laboratory.public_sets.radiographs import make_chest_xray_datalist
from bundle.transforms.load import LoadFramed

NAMES = ["MCUCXR_0001_0", "MCUCXR_0002_1", "CHNCXR_0003_0", "CHNCXR_0004_1", "CHNCXR_0005_0"]


def write_xrays(folder, names=NAMES):
    """A gray image each, whose mask covers the left half, softly at its edge."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for name in names:
        Image.new("L", (4, 4), 51).save(folder / "images" / f"{name}.png")
        Image.fromarray(np.array([[255, 128, 127, 0]] * 4, np.uint8)).save(folder / "masks" / f"{name}.png")
    return folder


def test_every_patient_is_in_one_section_and_source_and_licence_are_written(tmp_path):
    path = make_chest_xray_datalist(write_xrays(tmp_path / "cxr"), tmp_path / "list")
    content = read_datalist(path)
    assert sorted(item["patient"] for section in SECTIONS for item in content[section]) == sorted(NAMES)
    assert [len(content[section]) for section in SECTIONS] == [3, 1, 1]
    assert "Jaeger" in content["source"]
    assert "Candemir" in content["source"]
    assert content["license"]
    assert content["synthetic"] is False


def test_the_mask_is_the_lung(tmp_path):
    path = make_chest_xray_datalist(write_xrays(tmp_path / "cxr"), tmp_path / "list")
    frame = LoadFramed(["lung"])(load_datalist(path, "training", ["lung"])[0])
    assert frame["image"].tolist() == [[[pytest.approx(0.2)] * 4] * 4]
    assert frame["label"].tolist() == [[[1, 1, 0, 0]] * 4]


def test_equal_seeds_split_equally_and_others_do_not(tmp_path):
    folder = write_xrays(tmp_path / "cxr", [f"MCUCXR_{number:04d}_0" for number in range(20)])
    splits = [read_datalist(make_chest_xray_datalist(folder, tmp_path / "list", seed=seed)) for seed in (1, 1, 2)]
    assert splits[0] == splits[1]
    assert splits[0]["test"] != splits[2]["test"]


def test_no_source_is_claimed_for_files_of_other_names(tmp_path):
    path = make_chest_xray_datalist(write_xrays(tmp_path / "cxr", [*NAMES, "a_patient"]), tmp_path / "list")
    assert not {"source", "license"} & read_datalist(path).keys()


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no chest X-rays: expected PNG files in .*gone.images"):
        make_chest_xray_datalist(tmp_path / "gone", tmp_path)


def test_an_image_without_a_mask_is_named(tmp_path):
    folder = write_xrays(tmp_path / "cxr")
    (folder / "masks" / f"{NAMES[1]}.png").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 5 clips have no masks .*{NAMES[1]}"):
        make_chest_xray_datalist(folder, tmp_path / "list")


def test_the_real_sets_are_read(shared_dir, tmp_path):
    folder = shared_dir / "data" / "cxr_lungs"
    if not folder.is_dir():
        pytest.skip("the chest X-rays (../shared/data/cxr_lungs) are not on this machine")
    some = sorted((folder / "images").iterdir())[::40]  # all of them take seconds
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for path in some:
            (tmp_path / kind / path.name).symlink_to(folder / kind / path.name)
    datalist = make_chest_xray_datalist(tmp_path, tmp_path)
    assert "source" in read_datalist(datalist)
    frame = LoadFramed(["lung"])(load_datalist(datalist, "training", ["lung"])[0])
    assert frame["image"].shape == (1, 512, 512)
    assert 0.05 < frame["label"].float().mean() < 0.6
