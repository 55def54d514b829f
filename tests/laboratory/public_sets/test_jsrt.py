"""A folder of films with a folder of masks per structure becomes a data list, split by patient."""

import numpy as np
import pytest
from PIL import Image

from bundle.data.datalist import SECTIONS, load_datalist, read_datalist
from bundle.laboratory.public_sets.radiographs import JSRT_STRUCTURES, make_jsrt_datalist
from bundle.transforms.load import LoadFramed

NAMES = [f"JPCLN{number:03d}" for number in range(3)] + [f"JPCNN{number:03d}" for number in range(2)]


@pytest.fixture
def films(tmp_path):
    """A gray film each; the mask of structure i, 1-bit as in the set, begins in column i and reaches the right edge."""
    for name in NAMES:
        for number, kind in enumerate(("images", *(f"masks/{structure}" for structure in JSRT_STRUCTURES))):
            path = tmp_path / "jsrt" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mask = np.tile(np.arange(6) >= number - 1, (6, 1))
            (Image.fromarray(mask) if number else Image.new("L", (6, 6), 51)).save(path)
    return tmp_path / "jsrt"


def test_each_film_has_five_overlapping_structures_and_one_patient(films, tmp_path):
    path = make_jsrt_datalist(films, tmp_path / "list")
    content = read_datalist(path)
    assert sorted(item["patient"] for section in SECTIONS for item in content[section]) == NAMES
    assert [len(content[section]) for section in SECTIONS] == [3, 1, 1]
    assert "Shiraishi" in content["source"]
    assert "van Ginneken" in content["source"]
    assert "no redistribution" in content["license"]
    frame = LoadFramed(list(JSRT_STRUCTURES))(load_datalist(path, "training", JSRT_STRUCTURES)[0])
    assert frame["label"].sum(dim=(1, 2)).tolist() == [36, 30, 24, 18, 12]


def test_a_film_without_one_of_the_masks_is_named(films, tmp_path):
    (films / "masks" / "left_clavicle" / f"{NAMES[1]}.png").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 5 clips have no masks at .*{{structure}}.*{NAMES[1]}"):
        make_jsrt_datalist(films, tmp_path / "list")


def test_no_source_is_claimed_for_files_of_other_names(films, tmp_path):
    for path in films.rglob(f"{NAMES[0]}.png"):
        path.rename(path.with_name("a_patient.png"))
    assert not {"source", "license"} & read_datalist(make_jsrt_datalist(films, tmp_path / "list")).keys()


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no JSRT films: expected PNG files in .*gone.images"):
        make_jsrt_datalist(tmp_path / "gone", tmp_path)


def test_the_real_set_is_read(shared_dir, tmp_path):
    folder = shared_dir / "data" / "jsrt"
    if not folder.is_dir():
        pytest.skip("the JSRT films (../shared/data/jsrt) are not on this machine")
    for path in sorted((folder / "images").iterdir())[::37]:  # all of them take seconds
        for kind in ("images", *(f"masks/{structure}" for structure in JSRT_STRUCTURES)):
            (tmp_path / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / kind / path.name).symlink_to(folder / kind / path.name)
    frame = LoadFramed(list(JSRT_STRUCTURES))(
        load_datalist(make_jsrt_datalist(tmp_path, tmp_path), "test", JSRT_STRUCTURES)[0]
    )
    assert frame["image"].shape == (1, 512, 512)
    areas = frame["label"].float().mean(dim=(1, 2))
    assert all(0.005 < area < 0.3 for area in areas)
    assert areas[3:].max() < areas[:3].min()  # clavicles are the small ones
