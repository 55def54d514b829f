"""From a folder of clips and masks to a data list, split by patient."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bundle.data.make_datalist import make_datalist, split_by_patient

NAMES = ["bolus", "hyoid"]


@pytest.fixture
def folder(tmp_path, write_video):
    """Videos of five patients, the first with two, each with a folder of PNG masks per structure."""
    for stem in ("p1_a", "p1_b", "p2_a", "p3_a", "p4_a", "p5_a"):
        write_video(tmp_path / f"{stem}.avi", np.zeros((2, 16, 16), np.uint8))
        for name in NAMES:
            masks = tmp_path / f"{stem}_masks" / name
            masks.mkdir(parents=True)
            for index in range(2):
                Image.new("L", (16, 16), 255).save(masks / f"{index}.png")
    return tmp_path


def test_a_folder_of_videos_and_masks_becomes_a_data_list(folder):
    content = json.loads(make_datalist(folder, NAMES).read_text())
    assert content["structures"] == NAMES
    clips = [item for section in ("training", "validation", "test") for item in content[section]]
    assert sorted(item["image"] for item in clips)[:2] == ["p1_a.avi", "p1_b.avi"]
    assert clips[0]["label"].keys() == set(NAMES)
    patients = [{item["patient"] for item in content[section]} for section in ("training", "validation", "test")]
    assert set().union(*patients) == {"p1", "p2", "p3", "p4", "p5"}
    assert sum(map(len, patients)) == 5


def test_one_file_per_clip_is_an_indexed_map_in_the_order_of_the_structures(tmp_path):
    for patient in ("a", "b", "c"):
        Image.new("L", (4, 4)).save(tmp_path / f"{patient}.png")
        Image.new("L", (4, 4), 2).save(tmp_path / f"{patient}_masks.png")
    path = make_datalist(tmp_path, NAMES, images="[abc].png", output=tmp_path / "list.json")
    label = json.loads(path.read_text())["test"][0]["label"]
    assert label["values"] == {"1": "bolus", "2": "hyoid"}


def test_a_map_with_more_values_than_structures_is_refused_and_nothing_written(tmp_path):
    for patient in ("a", "b", "c"):
        Image.new("L", (4, 4)).save(tmp_path / f"{patient}.png")
        Image.new("L", (4, 4), 255).save(tmp_path / f"{patient}_masks.png")
    with pytest.raises(ValueError, match="the map holds the values 255, but the data list names 1 'bolus', 2 'hyoid'"):
        make_datalist(tmp_path, NAMES, images="[abc].png")
    assert not list(tmp_path.glob("*.json*"))


def test_masks_of_every_format_are_found(folder):
    for stem, suffix in (("p1_a", ".tif"), ("p2_a", ".nrrd")):
        mask = folder / f"{stem}_masks" / f"bolus{suffix}"
        (mask.parent / "bolus").rename(folder / f"{stem}_bolus")
        header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 16 16 2\nencoding: raw\n\n"
        page = Image.new("L", (16, 16), 255)
        if suffix == ".tif":
            page.save(mask, save_all=True, append_images=[page])
        else:
            mask.write_bytes(header + bytes(512))
    content = json.loads(make_datalist(folder, NAMES).read_text())
    items = [item for section in ("training", "validation", "test") for item in content[section]]
    labels = {item["image"]: item["label"] for item in items}
    assert labels["p1_a.avi"]["bolus"].endswith(".tif")
    assert labels["p2_a.avi"]["bolus"].endswith(".nrrd")


def test_a_name_that_cannot_be_a_structure_is_refused_first(tmp_path):
    with pytest.raises(ValueError, match="structure 'C5/C6' cannot name folders"):
        make_datalist(tmp_path / "nowhere", ["C5/C6"])


@pytest.mark.parametrize("seed", range(5))
def test_one_patient_in_two_spellings_stays_together(seed):
    items = [{"patient": name} for name in ("p001", "P001", "p001 ", "p002", "p003", "p004")]
    split = split_by_patient(items, {"training": 0.5, "validation": 0.25, "test": 0.25}, seed=seed)
    assert len({section for section, part in split.items() for item in part if "001" in item["patient"]}) == 1


def test_a_clip_without_masks_is_named(folder):
    (folder / "p2_a_masks").rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"1 of 6 clips have no masks at '\{stem\}_masks': .*p2_a\.avi"):
        make_datalist(folder, NAMES)


def test_a_structure_without_a_mask_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"no mask of 'c2' in .*p1_a_masks"):
        make_datalist(folder, [*NAMES, "c2"])


def test_nothing_is_written_when_the_check_fails(folder):
    Image.new("L", (8, 8)).save(folder / "p1_a_masks/bolus/0.png")
    with pytest.raises(ValueError, match="masks of"):
        make_datalist(folder, NAMES)
    assert not list(folder.glob("*.json*"))


@pytest.mark.parametrize("images", [None, "**/*.avi"])
def test_hidden_files_and_earlier_results_are_no_clips_and_links_are_entered(folder, tmp_path_factory, capsys, images):
    (folder / "._p1_a.avi").write_bytes(b"4 KB that no reader can read")
    (folder / "results" / "abc").mkdir(parents=True)
    (folder / "results" / "abc" / "overlay.avi").touch()
    (folder / "results" / "abc" / "study.json").write_text('{"key": "abc", "settings": null, "outputs": []}')
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for path in sorted(folder.glob("p5_a*")):
        path.rename(elsewhere / path.name)
    (folder / "p5").symlink_to(elsewhere)
    content = json.loads(make_datalist(folder, NAMES, images=images).read_text())
    clips = sorted(item["image"] for section in ("training", "validation", "test") for item in content[section])
    assert clips == ["p1_a.avi", "p1_b.avi", "p2_a.avi", "p3_a.avi", "p4_a.avi", "p5/p5_a.avi"]
    said = capsys.readouterr().err
    assert "left out, hidden, or of the system: 1 (._p1_a.avi)" in said
    assert "left out, results of an earlier run: 1 (abc)" in said


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a DICOM or video file"):
        make_datalist(tmp_path, NAMES)


def test_a_patients_items_stay_together_and_every_section_gets_a_patient():
    items = [{"patient": f"p{index // 3}"} for index in range(30)]
    split = split_by_patient(items, {"training": 0.9, "validation": 0.05, "test": 0.05}, seed=1)
    assert {section: len({item["patient"] for item in part}) for section, part in split.items()} == {
        "training": 8,
        "validation": 1,
        "test": 1,
    }
    assert sorted(len(part) for part in split.values()) == [3, 3, 24]


def test_the_same_seed_gives_the_same_split_in_any_order():
    items = [{"patient": f"p{index}"} for index in range(10)]
    shares = {"training": 0.6, "validation": 0.2, "test": 0.2}
    first, second = split_by_patient(items, shares, seed=3), split_by_patient(items[::-1], shares, seed=3)
    assert first["test"] == second["test"][::-1]
    assert any(split_by_patient(items, shares, seed=seed)["test"] != first["test"] for seed in range(4, 8))


def test_too_few_patients_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"1 patients \['p'\] cannot fill the sections .* check patient_pattern"):
        split_by_patient([{"patient": "p"}], {"training": 0.5, "test": 0.5}, seed=0)


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match="fractions must not be negative and sum to 1"):
        split_by_patient([{"patient": "p"}], {"training": 0.5, "test": 0.6}, seed=0)


@pytest.mark.slow
def test_the_script_writes_the_list_and_ends_with_a_one_line_error(folder, bundle_root):
    command = [sys.executable, str(bundle_root / "scripts/make_datalist.py"), str(folder), "--structures"]
    done = subprocess.run([*command, *NAMES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "datalist.json").is_file()
    failed = subprocess.run([*command, "c2"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: no mask of 'c2'")
