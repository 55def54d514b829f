"""Labels: every form gives the same masks, in the order asked for."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.data.labels import parse_label, probe_labels, read_labels
from bundle.data.readers import UnreadableStudyError

NAMES = ("bolus", "hyoid")


def two_masks() -> np.ndarray:
    """Masks (T, S, H, W) of two frames, 3 x 4, that do not overlap."""
    masks = np.zeros((2, 2, 3, 4), np.uint8)
    masks[0, 0, 0, 1] = masks[1, 0, 2, :2] = 1
    masks[:, 1, 1, 3] = 1
    return masks


def save_nifti(path, masks_txy):  # (..., H, W) in the order (S, T, H, W) or (T, H, W) -> (X, Y, 1, T[, S])
    nib.save(nib.Nifti1Image(np.ascontiguousarray(masks_txy.T[:, :, None]), np.eye(4)), path)


def save_pictures(folder, masks, scale=255):
    folder.mkdir()
    for index, mask in enumerate(masks):
        Image.fromarray(mask * np.uint8(scale)).save(folder / f"{index}.png")


@pytest.fixture
def entries(tmp_path):
    masks = two_masks()
    save_nifti(tmp_path / "channels.nii.gz", masks.swapaxes(0, 1))
    for channel, name in enumerate(NAMES):
        save_nifti(tmp_path / f"{name}.nii.gz", masks[:, channel])
        save_pictures(tmp_path / name, masks[:, channel])
    indices = masks[:, 0] * np.uint8(7) + masks[:, 1] * np.uint8(3)
    save_nifti(tmp_path / "map.nii.gz", indices)
    save_pictures(tmp_path / "map", indices, scale=1)
    values = {"7": "bolus", "3": "hyoid"}
    return {
        "channels": "channels.nii.gz",
        "a NIfTI each": {name: f"{name}.nii.gz" for name in NAMES},
        "a folder of PNGs each": {name: name for name in NAMES},
        "a mixture": {"bolus": "bolus", "hyoid": "hyoid.nii.gz"},
        "an indexed NIfTI": {"map": "map.nii.gz", "values": values},
        "indexed PNGs": {"map": "map", "values": values},
    }


@pytest.mark.parametrize(
    "form",
    ["channels", "a NIfTI each", "a folder of PNGs each", "a mixture", "an indexed NIfTI", "indexed PNGs"],
)
def test_every_form_gives_the_same_masks(tmp_path, entries, form):
    spec = parse_label(entries[form], tmp_path, NAMES)
    masks = read_labels(spec, NAMES)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, two_masks())
    np.testing.assert_array_equal(read_labels(spec, ("hyoid",)), two_masks()[:, 1:])
    np.testing.assert_array_equal(read_labels(spec, ("hyoid", "bolus")), two_masks()[:, ::-1])
    assert probe_labels(spec) == (2, 3, 4)


def test_overlapping_structures_both_keep_the_pixel(tmp_path):
    masks = np.ones((1, 2, 2, 2), np.uint8)
    save_nifti(tmp_path / "channels.nii.gz", masks.swapaxes(0, 1))
    assert read_labels(tmp_path / "channels.nii.gz", NAMES).sum() == 8


def test_a_structure_stated_absent_is_an_empty_mask(tmp_path, entries):
    spec = parse_label({"bolus": "bolus", "hyoid": None}, tmp_path, NAMES)
    masks = read_labels(spec, NAMES)
    np.testing.assert_array_equal(masks[:, 0], two_masks()[:, 0])
    assert masks[:, 1].sum() == 0


def test_a_palette_picture_gives_its_indices(tmp_path):
    picture = Image.fromarray(np.array([[0, 2], [1, 2]], np.uint8), mode=None)
    picture = picture.convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putdata([0, 2, 1, 2])
    picture.save(tmp_path / "map.png")
    spec = parse_label({"map": "map.png", "values": {"1": "bolus", "2": "hyoid"}}, tmp_path, NAMES)
    np.testing.assert_array_equal(read_labels(spec, NAMES)[0], [[[0, 0], [1, 0]], [[0, 1], [0, 1]]])


def test_smooth_mask_edges_count_from_half(tmp_path):
    Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(tmp_path / "lungs.png")
    spec = parse_label({"lungs": "lungs.png"}, tmp_path, ("lungs",))
    np.testing.assert_array_equal(read_labels(spec, ("lungs",))[0, 0], [[0, 0, 1, 1]])


def test_an_unknown_structure_prints_both_lists(tmp_path, entries):
    spec = parse_label(entries["channels"], tmp_path, NAMES)
    with pytest.raises(ValueError, match=r"unknown structures \['hyiod'\]: asked for \['hyiod'\], .*'bolus', 'hyoid'"):
        read_labels(spec, ("hyiod",))


def test_a_file_with_other_channels_than_the_list_is_refused(tmp_path, entries):
    spec = parse_label(entries["channels"], tmp_path, (*NAMES, "c2"))
    with pytest.raises(UnreadableStudyError, match="2 channels, but the data list names 3 structures"):
        read_labels(spec, NAMES)


def test_an_indexed_file_given_as_a_mask_is_refused_with_the_remedy(tmp_path, entries):
    spec = parse_label({"bolus": "map.nii.gz"}, tmp_path, NAMES)
    with pytest.raises(UnreadableStudyError, match=r'values go from 0 to 7\. .*write \{"map"'):
        read_labels(spec, ("bolus",))


def test_masks_of_different_size_in_one_label_are_refused(tmp_path, entries):
    save_nifti(tmp_path / "large.nii.gz", np.zeros((2, 5, 4), np.uint8))
    spec = parse_label({"bolus": "bolus", "hyoid": "large.nii.gz"}, tmp_path, NAMES)
    with pytest.raises(UnreadableStudyError, match=r"large\.nii\.gz: .*masks of 2 frames of 5 x 4, but bolus has 2 fr"):
        read_labels(spec, NAMES)


def test_a_mask_without_a_channel_axis_given_as_channels_is_refused(tmp_path, entries):
    with pytest.raises(UnreadableStudyError, match=r"expected masks \(X, Y, 1, T, S\), got \(4, 3, 1, 2\)"):
        read_labels(parse_label("bolus.nii.gz", tmp_path, NAMES), NAMES)


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such .*gone\.nii\.gz"):
        read_labels(parse_label({"bolus": "gone.nii.gz"}, tmp_path, NAMES), ("bolus",))
