"""The data list: frames in, one-line errors out."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.data.datalist import check_datalist, load_datalist, read_datalist

NAMES = ["bolus", "hyoid"]


@pytest.fixture
def make(tmp_path):
    """Write three patients with a clip of three frames, 4 x 5, and the data list, changed by a function."""

    def write(change=lambda content: None):
        for patient in ("p1", "p2", "p3"):
            folder = tmp_path / patient / "clip"
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(3):
                Image.new("L", (5, 4), index).save(folder / f"{index}.png")
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


def test_every_labelled_frame_is_an_entry(make, tmp_path):
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
