"""The data list: frames in, one-line errors out."""

import json
import logging
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.data.datalist import check_datalist, load_datalist, read_datalist
from bundle.data.split_checks import warn_once

NAMES = ["bolus", "hyoid"]


@pytest.fixture
def make(tmp_path):
    """Write three patients with a clip of three frames, 4 x 5, and the data list, changed by a function."""

    def write(change=lambda content: None):
        for patient in ("p1", "p2", "p3"):
            folder = tmp_path / patient / "clip"
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(3):
                Image.new("L", (5, 4), index + 3 * int(patient[1])).save(folder / f"{index}.png")
            masks = np.zeros((5, 4, 1, 3, 2), np.uint8)
            nib.save(nib.Nifti1Image(masks, np.eye(4)), tmp_path / patient / "masks.nii.gz")
        content = {
            "name": "tiny",
            "synthetic": True,
            "structures": list(NAMES),
            "training": [item("p1")],
            "validation": [item("p2")],
            "test": [item("p3")],
        }
        change(content)
        path = tmp_path / "datalist.json"
        path.write_text(json.dumps(content))
        return path

    return write


def item(patient):
    return {"patient": patient, "image": f"{patient}/clip", "label": f"{patient}/masks.nii.gz"}


def changed(section, **values):
    def change(content):
        content[section][0].update(values)

    return change


def of_map(patient, values):
    return {"patient": patient, "image": f"{patient}/clip", "label": {"map": f"{patient}/map.nii", "values": values}}


@pytest.fixture
def make_maps(make, tmp_path):
    """The same with one indexed map each, of the values given for each patient; value 1 is bolus, 2 is hyoid."""

    def write(**indices):
        def change(content):
            for section, patient in (("training", "p1"), ("validation", "p2"), ("test", "p3")):
                content[section] = [of_map(patient, {"1": "bolus", "2": "hyoid"})]
                values = np.zeros((5, 4, 1, 3), np.int16)
                values.flat[: len(indices[patient])] = indices[patient]
                nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / patient / "map.nii")

        return make(change)

    return write


@pytest.fixture
def notes(caplog):
    """Says what the person at the command line is told."""
    warn_once.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_every_labeled_frame_is_an_entry(make, tmp_path):
    frames = load_datalist(make(), "training", NAMES)
    assert [frame["frame"] for frame in frames] == [0, 1, 2]
    assert frames[0]["image"] == tmp_path / "p1/clip"
    assert (frames[0]["patient"], frames[0]["clip"]) == ("p1", "p1/clip")


def test_listed_frames_only_are_entries(make):
    frames = load_datalist(make(changed("training", frames=[2, 0])), "training", NAMES)
    assert [(frame["frame"], frame["label_frame"]) for frame in frames] == [(2, 2), (0, 0)]


def test_the_shape_of_pixels_is_passed_on_where_it_is_given(make):
    path = make(changed("training", pixel_aspect=1.125))
    assert {entry.get("pixel_aspect") for entry in load_datalist(path, "training", NAMES)} == {1.125}
    assert all("pixel_aspect" not in entry for entry in load_datalist(path, "validation", NAMES))


def test_a_label_may_hold_the_listed_frames_only(make, tmp_path):
    path = make(changed("training", label="p1/two.nii.gz", frames=[2, 0]))
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 1, 2, 2), np.uint8), np.eye(4)), tmp_path / "p1/two.nii.gz")
    frames = load_datalist(path, "training", NAMES)
    assert [(frame["frame"], frame["label_frame"]) for frame in frames] == [(2, 0), (0, 1)]
    assert check_datalist(path, NAMES)["training"].num_frames == 2


def test_without_structures_labels_are_neither_needed_nor_given(make):
    path = make(lambda content: content["training"][0].pop("label"))
    frames = load_datalist(path, "training")
    assert len(frames) == 3
    assert "label" not in frames[0]


def test_training_may_be_the_only_section(make):
    def change(content):
        del content["validation"], content["test"]

    path = make(change)
    assert len(load_datalist(path, "training", NAMES)) == 3
    with pytest.raises(ValueError, match=r"no section 'validation', it has \['training'\]"):
        load_datalist(path, "validation", NAMES)


def test_the_preflight_counts_patients_clips_and_frames(make):
    summary = check_datalist(make(), ["hyoid"], sections=("training", "test"))
    assert list(summary) == ["training", "test"]
    assert (summary["test"].num_patients, summary["test"].num_clips, summary["test"].num_frames) == (1, 1, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(trainning=[]), "unknown key 'trainning' (did you mean 'training'?)"),
        (changed("training", frmes=[0]), "$.training[0]: unknown key 'frmes' (did you mean 'frames'?)"),
        (lambda c: c["test"][0].pop("patient"), "$.test[0]: missing ['patient'], got the keys ['image', 'label']"),
        (changed("training", patient=" "), "$.training[0].patient: expected a pseudonymous patient id (text), got"),
        (changed("training", label={"map": "m", "values": {"01": "bolus"}}), "values: expected a whole number as text"),
        (
            lambda c: c["structures"].append("C5/C6"),
            "structure 'C5/C6' cannot name folders, metrics and DICOM segments",
        ),
        (lambda c: c["structures"].append("Hyoid"), "structures 'hyoid' and 'Hyoid' differ in case alone"),
        (changed("training", patient=7), "$.training[0].patient: expected a pseudonymous patient id (text), got 7"),
        (changed("training", frames=[-1]), "$.training[0].frames[0]: expected a frame index from 0, got -1"),
        (changed("training", frames=[1, 1]), "expected a list of frame indices from 0, without repeats, got [1, 1]"),
        (changed("training", label=3), "$.training[0].label: expected a path, an object {structure: path or null}"),
        (changed("training", label={"map": "m.png"}), "$.training[0].label: missing ['values']"),
        (lambda c: c.pop("structures"), "$: missing ['structures']"),
        (lambda c: [c.pop(s) for s in ("training", "validation", "test")], "expected at least one of the sections"),
    ],
)
def test_a_wrong_form_is_one_line_with_place_expectation_and_what_came(make, change, message):
    path = make(change)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_datalist(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed("test", patient="p1"),
            "patient 'p1' is in both training and test: put all clips of a patient into one",
        ),
        (lambda c: c["training"].append(item("p1")), "image 'p1/clip' is listed twice"),
        (lambda c: c.update(training=[]), "section 'training' is empty: it needs at least one clip"),
        (
            changed("training", label={"bolus": "p1/clip"}),
            r"unknown structures ['hyoid']: asked for ['bolus', 'hyoid']",
        ),
        (lambda c: c["training"][0].pop("label"), "'p1/clip' in training has no label, and labels are asked for"),
        (changed("training", frames=[0, 3]), "go up to 3, but"),
    ],
)
def test_what_would_spoil_training_is_refused_by_loading_and_by_the_preflight(make, change, message):
    path = make(change)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_datalist(path, "training", NAMES)
    with pytest.raises(ValueError, match=re.escape(message)):
        check_datalist(path, NAMES)


def test_unknown_structures_print_both_lists(make):
    message = r"unknown structures \['hyiod'\]: asked for \['bolus', 'hyiod'\], data list .* has \['bolus', 'hyoid'\]"
    with pytest.raises(ValueError, match=message):
        load_datalist(make(), "training", ["bolus", "hyiod"])


def test_a_split_patient_is_refused_whatever_section_is_asked_for(make):
    with pytest.raises(ValueError, match="patient 'p2' is in both validation and test"):
        load_datalist(make(changed("test", patient="p2")), "training", NAMES)


def test_missing_files_are_counted_and_the_first_three_named(make):
    def change(content):
        content["training"] = [item(f"gone{index}") for index in range(4)]

    path = make(change)
    with pytest.raises(FileNotFoundError, match=r"8 of 8 files are missing: .*gone0.*gone1.*gone2\S* and 5 more"):
        check_datalist(path, NAMES)


def test_masks_of_another_size_than_the_frames_are_refused(make, tmp_path):
    path = make()
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 1, 3, 2), np.uint8), np.eye(4)), tmp_path / "p1/masks.nii.gz")
    with pytest.raises(ValueError, match=r"label of 'p1/clip' is 5 x 4 pixels, its frames are 4 x 5: export the masks"):
        check_datalist(path, NAMES)


def test_masks_of_another_length_than_the_clip_are_refused(make, tmp_path):
    path = make()
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 1, 2, 2), np.uint8), np.eye(4)), tmp_path / "p1/masks.nii.gz")
    with pytest.raises(
        ValueError, match="label of 'p1/clip' has 2 frames, the clip has 3 and no \"frames\" are listed"
    ):
        check_datalist(path, NAMES)


def test_an_unreadable_clip_is_found_before_training(make, tmp_path):
    path = make(changed("training", image="p1/cine.avi"))
    (tmp_path / "p1/cine.avi").write_text("no video")
    with pytest.raises(ValueError, match=r"p1/cine\.avi: not a readable study: named \.avi"):
        check_datalist(path, NAMES)


def test_a_missing_data_list_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data list at .*list\.json: make one with"):
        load_datalist(tmp_path / "list.json", "training")


def test_what_is_not_json_is_refused(tmp_path):
    (tmp_path / "list.json").write_text("{training: []}")
    with pytest.raises(ValueError, match=r"list\.json: not JSON: .* line 1 column 2"):
        load_datalist(tmp_path / "list.json", "training")


def test_an_unknown_section_is_refused(make):
    with pytest.raises(ValueError, match=r"section must be one of .*, got 'train'"):
        load_datalist(make(), "train")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_mistake(make, encoding):
    path = make()
    path.write_text(path.read_text(), encoding=encoding)
    assert read_datalist(path)["name"] == "tiny"


def test_maps_are_read_before_training_and_values_that_nobody_named_are_refused(make_maps):
    path = make_maps(p1=[1, 2], p2=[127, 255], p3=[2])
    assert len(load_datalist(path, "training", NAMES)) == 3
    for check in (lambda: load_datalist(path, "validation", NAMES), lambda: check_datalist(path, NAMES)):
        with pytest.raises(
            ValueError, match=r"map\.nii: the map holds the values 0, 127, 255, but the data list names 1"
        ):
            check()
    assert len(load_datalist(path, "validation")) == 3  # distillation needs no labels


def test_maps_that_hold_nothing_asked_for_are_refused(make_maps):
    path = make_maps(p1=[1], p2=[0], p3=[2])
    with pytest.raises(
        ValueError, match=r"none of \['hyoid'\] has a pixel in the 1 label maps of training: correct the"
    ):
        load_datalist(path, "training", ["hyoid"])
    with pytest.raises(ValueError, match=r"none of \['bolus', 'hyoid'\] has a pixel in .* of validation"):
        check_datalist(path, NAMES)


def test_a_structure_that_is_nowhere_is_noted_once(make_maps, notes):
    path = make_maps(p1=[1], p2=[1, 2], p3=[2])
    for _ in range(2):
        assert len(load_datalist(path, "training", NAMES)) == 3
        check_datalist(path, NAMES)
    assert notes() == ["data list: nowhere in the labels of training: hyoid"]


def test_masks_with_other_values_are_refused_by_the_preflight(make, tmp_path):
    path = make()
    nib.save(nib.Nifti1Image(np.full((5, 4, 1, 3, 2), 3, np.uint8), np.eye(4)), tmp_path / "p2/masks.nii.gz")
    with pytest.raises(ValueError, match="a mask holds 0 and 1, or 0 and 255; its values go from 3 to 3"):
        check_datalist(path, NAMES)


@pytest.mark.parametrize("spelling", ["P1", " p1 ", "ｐ1"])
def test_one_patient_in_two_spellings_is_one_patient(make, spelling):
    with pytest.raises(ValueError, match=f"patient '{spelling}' is in both training .there as 'p1'. and test: put all"):
        read_datalist(make(changed("test", patient=spelling)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("p001-thin", "p001-puree"),
        ("p001", "p001_2"),
        ("p001", "P1"),
        ("p-001", "p001"),
        ("site-7-thin-1", "site-7-puree-2"),
    ],
)
def test_ids_that_look_like_one_patient_are_warned_of(make, notes, first, second):
    def change(content):
        content["training"][0]["patient"], content["test"][0]["patient"] = first, second

    assert read_datalist(make(change))
    assert notes() == [
        f"data list: the patients '{first}' (training), '{second}' (test) may be one: then put them into one section, "
        "as a patient_pattern does"
    ]


def test_of_many_the_first_are_named(make, notes):
    def change(content):
        for number in range(9):
            content["training"].append({"patient": f"q{number}-a", "image": f"q{number}a"})
            content["test"].append({"patient": f"q{number}-b", "image": f"q{number}b"})

    read_datalist(make(change))
    assert len(notes()) == 5
    assert notes()[0].startswith("data list: the patients 'q0-a' (training), 'q0-b' (test) may be one")
    assert notes()[-1] == "data list: and 5 more such groups of patients"


@pytest.mark.parametrize(("first", "second"), [("site1-0001", "site1-0002"), ("p1", "p10"), ("1.2.84.1", "1.2.84.2")])
def test_other_ids_are_not_warned_of(make, notes, first, second):
    def change(content):
        content["training"][0]["patient"], content["test"][0]["patient"] = first, second

    read_datalist(make(change))
    assert notes() == []


def test_the_same_file_by_another_path_is_refused(make, tmp_path):
    with pytest.raises(
        ValueError, match=r"image 'p3/\.\./p1/clip' is the same as 'p1/clip', in training and test: keep"
    ):
        read_datalist(make(changed("test", image="p3/../p1/clip")))
    (tmp_path / "link").symlink_to(tmp_path / "p1/clip")
    with pytest.raises(ValueError, match="image 'link' is the same as 'p1/clip', in training and test"):
        read_datalist(make(changed("test", image="link")))
    (tmp_path / "hard.png").hardlink_to(tmp_path / "p1/clip/0.png")
    single = make(lambda c: [c["training"][0].update(image="p1/clip/0.png"), c["test"][0].update(image="hard.png")])
    with pytest.raises(ValueError, match=r"image 'hard\.png' is the same as 'p1/clip/0\.png'"):
        read_datalist(single)


def test_a_picture_of_a_folder_that_is_listed_is_refused(make, tmp_path):
    with pytest.raises(
        ValueError, match=r"image 'p1/clip/0\.png' in test is a part of 'p1/clip' in training: keep one"
    ):
        read_datalist(make(changed("test", image="p1/clip/0.png")))
    (tmp_path / "link.png").symlink_to(tmp_path / "p1/clip/0.png")
    with pytest.raises(ValueError, match=r"image 'link\.png' in test is a part of 'p1/clip' in training: keep one"):
        read_datalist(make(changed("test", image="link.png")))
    (tmp_path / "p1/clip/second").mkdir()
    assert read_datalist(make(changed("test", image="p1/clip/second")))  # a clip of its own


def test_a_copy_in_another_section_is_warned_of_and_one_pixel_makes_it_no_copy(make, tmp_path, notes):
    path = make()
    for name, value in (("p1", 7), ("p2", 7), ("p3", 8)):
        shutil.rmtree(tmp_path / name / "clip")
        pixels = np.zeros((3, 90, 100), np.uint8)
        pixels[1, 20, 20] = value
        nib.save(nib.Nifti1Image(pixels.T[:, :, None], np.eye(4)), tmp_path / f"{name}.nii")
        content = json.loads(path.read_text())
        for section in ("training", "validation", "test"):
            content[section][0]["image"] = f"{content[section][0]['patient']}.nii"
        path.write_text(json.dumps(content))
    load_datalist(path, "training")
    load_datalist(path, "validation")
    assert notes() == [
        "data list: the images 'p1.nii' (training), 'p2.nii' (validation) have the same content: keep one of them"
    ]
