"""The mixed list has as many training frames as the homogeneous one, its validation, and no labels."""

import json

import numpy as np
import pytest
from PIL import Image

from bundle.data.datalist import check_datalist, load_datalist, read_datalist
from bundle.laboratory.public_sets.mixed_modalities import make_mixed_datalist
from tests.laboratory.public_sets.test_chest_xrays import write_xrays
from tests.laboratory.public_sets.test_ct_lesions import NAMES, write_volumes


@pytest.fixture
def folders(tmp_path):
    """A homogeneous list of 4 training clips and 1 for validation, 6 frames each; 20 X-rays; 2 sub-volumes of 4."""
    listing = {"structures": ["hyoid"], "synthetic": True, "training": [], "validation": []}
    for patient in range(5):
        clip = tmp_path / "phantom" / f"p{patient}"
        clip.mkdir(parents=True)
        for frame in range(6):
            Image.fromarray(np.full((4, 4), 10 * frame, np.uint8)).save(clip / f"{frame}.png")
        listing["training" if patient < 4 else "validation"].append({"patient": f"p{patient}", "image": f"p{patient}"})
    phantom = tmp_path / "phantom" / "datalist.json"
    phantom.write_text(json.dumps(listing))
    write_volumes(tmp_path / "ct", NAMES[:2])
    return phantom, write_xrays(tmp_path / "cxr", [f"MCUCXR_{number:04d}_0" for number in range(20)]), tmp_path / "ct"


def counts(frames):
    """Frames that come from the phantom, the X-rays and the CT."""
    kinds = ["phantom" if f["patient"][0] == "p" else "xray" if f["patient"][0] == "M" else "ct" for f in frames]
    return [kinds.count(kind) for kind in ("phantom", "xray", "ct")]


def test_there_are_as_many_frames_a_third_of_each_modality(folders, tmp_path):
    path = make_mixed_datalist(*folders, tmp_path / "mixed")
    assert len(load_datalist(folders[0], "training")) == 24
    assert counts(load_datalist(path, "training")) == [8, 8, 8]
    assert check_datalist(path, None)["training"].num_frames == 24


def test_a_small_set_gives_all_it_has_and_the_phantom_the_rest(folders, tmp_path):
    (folders[2] / f"{NAMES[0]}.npz").unlink()
    assert counts(load_datalist(make_mixed_datalist(*folders, tmp_path / "mixed"), "training")) == [12, 8, 4]


def test_no_frame_is_drawn_twice(folders, tmp_path):
    frames = load_datalist(make_mixed_datalist(*folders, tmp_path / "mixed"), "training")
    assert len({(frame["clip"], frame["frame"]) for frame in frames}) == len(frames)


def test_validation_is_the_phantoms(folders, tmp_path):
    path = make_mixed_datalist(*folders, tmp_path / "mixed")
    was, now = (load_datalist(name, "validation") for name in (folders[0], path))
    assert [(f["image"].resolve(), f["frame"]) for f in now] == [(f["image"].resolve(), f["frame"]) for f in was]


def test_it_is_not_labeled_not_synthetic_and_names_its_sources(folders, tmp_path):
    content = read_datalist(make_mixed_datalist(*folders, tmp_path / "mixed"))
    assert not any("label" in item for section in ("training", "validation") for item in content[section])
    assert content["synthetic"] is False
    assert "Jaeger" in content["source"]
    assert "DeepLesion" in content["source"]


def test_equal_seeds_draw_equally_and_others_do_not(folders, tmp_path):
    texts = [make_mixed_datalist(*folders, tmp_path / "mixed", seed=seed).read_text() for seed in (0, 0, 1)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_shape_of_pixels_that_a_list_states_is_kept(folders, tmp_path):
    listing = json.loads(folders[0].read_text())
    listing["validation"][0]["pixel_spacing_mm"] = [0.4, 0.2]
    folders[0].write_text(json.dumps(listing))
    content = read_datalist(make_mixed_datalist(*folders, tmp_path / "mixed"))
    assert content["validation"][0]["pixel_spacing_mm"] == [0.4, 0.2]


def test_a_folder_that_is_not_there_is_one_clear_error(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="no CT sub-volumes"):
        make_mixed_datalist(*folders[:2], tmp_path / "gone", tmp_path / "mixed")
