"""Label files: a structure has the same value everywhere, and what does not fit is refused."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.annotation.label_maps import Annotation, Grid, as_layers, paint, read_annotation, write_annotation
from bundle.annotation.refusals import RefusedRequestError

STRUCTURES = ("bolus", "hyoid", "tongue")
CINE = Grid((4, 3, 2), np.diag([-0.5, -0.25, 1.0, 1.0]))  # X, Y, T: 3 rows, 4 columns


def annotation_of(values):
    """One layer ``(T, H, W)``."""
    return Annotation(np.asarray(values, np.uint8)[None])


def test_the_smaller_structure_lies_on_top():
    masks = np.zeros((3, 2, 3), bool)
    masks[0, :, :2], masks[1, 0, 0], masks[2] = True, True, True
    assert paint(masks).tolist() == [[2, 1, 3], [1, 1, 3]]
    assert paint(np.ones((3, 1, 2), bool)).tolist() == [[1, 1]]  # of equals the first


def test_layers_hold_what_overlaps():
    masks = np.ones((3, 1, 2), bool)
    masks[1, 0, 0] = False
    layers = Annotation(as_layers(masks, [0, 2])[:, None])
    assert layers.layers.tolist() == [[[[1, 1]]], [[[3, 3]]]]
    assert layers.present(STRUCTURES, [0]) == {"bolus": 1, "tongue": 3}


def test_a_frame_without_any_label_is_not_a_labeled_one():
    annotation = annotation_of([[[0, 0]], [[0, 2]], [[0, 0]], [[1, 0]]])
    assert annotation.labeled_frames() == [1, 3]
    assert annotation.present(STRUCTURES, [0, 3]) == {"bolus": 1}
    assert annotation.masks([3, 1], 3).tolist() == [
        [[[True, False]], [[False, False]], [[False, False]]],
        [[[False, False]], [[False, True]], [[False, False]]],
    ]


def test_nifti_lies_on_the_images_grid_column_first(tmp_path):
    values = np.arange(24).reshape(2, 3, 4) % 4  # (T, H, W)
    path = write_annotation(annotation_of(values), CINE, STRUCTURES, tmp_path / "label.nii.gz")
    image = nib.load(path)
    assert image.shape == (4, 3, 2)
    assert image.get_data_dtype() == np.uint8
    assert np.asarray(image.dataobj)[3, 1, 0] == values[0, 1, 3]
    np.testing.assert_allclose(image.affine, CINE.affine)
    np.testing.assert_array_equal(read_annotation(path, CINE, STRUCTURES).layers[0], values)


def test_a_picture_holds_one_frame_row_first(tmp_path):
    still = Grid((4, 3, 1), np.eye(4))
    values = np.arange(12).reshape(1, 3, 4) % 4
    path = write_annotation(annotation_of(values), still, STRUCTURES, tmp_path / "label.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), values[0])
    np.testing.assert_array_equal(read_annotation(path, still, STRUCTURES).layers[0], values)
    with pytest.raises(RefusedRequestError, match="a PNG holds one frame, and this label has 2"):
        write_annotation(annotation_of(np.zeros((2, 3, 4))), CINE, STRUCTURES, tmp_path / "cine.png")


def test_layers_need_a_file_that_holds_them(tmp_path):
    with pytest.raises(RefusedRequestError, match=r"labels in layers need a file \.seg\.nrrd"):
        write_annotation(Annotation(np.zeros((3, 2, 3, 4), np.uint8)), CINE, STRUCTURES, tmp_path / "label.nii")
    assert list(tmp_path.iterdir()) == []


def write_values(path, values):
    nib.save(nib.Nifti1Image(np.asarray(values, np.float32), np.eye(4)), path)
    return path


def test_names_go_before_values(tmp_path):
    values = np.zeros((4, 3, 2))
    values[0, 0, 0], values[1, 0, 0] = 1, 7
    path = write_values(tmp_path / "sent.nii", values)
    info = [{"name": "tongue", "idx": 1}, {"name": "bolus", "idx": 7}]
    layers = read_annotation(path, CINE, STRUCTURES, info).layers
    assert (layers[0, 0, 0, 0], layers[0, 0, 0, 1]) == (3, 1)


def test_a_whole_number_with_a_rounding_error_is_that_number(tmp_path):
    values = np.zeros((4, 3, 2))
    values[0, 0, 0] = 2.0000002
    layers = read_annotation(write_values(tmp_path / "sent.nii", values), CINE, STRUCTURES).layers
    assert (layers[0, 0, 0, 0], layers.sum()) == (2, 2)


@pytest.mark.parametrize(
    ("values", "info", "words"),
    [
        (np.ones((3, 4, 2)), None, r"must be on the image's grid \(4, 3, 2\) .* got \(3, 4, 2\)"),
        (np.ones((4, 3)), None, "must be on the image's grid"),
        (np.full((4, 3, 2), 4), None, "the value 4 has no name"),
        (np.ones((4, 3, 2)), [{"name": "nose", "idx": 1}], "'nose' is no structure: expected some of"),
        (np.full((4, 3, 2), 0.5), None, "whole numbers from 0"),
        (np.full((4, 3, 2), -1), None, "whole numbers from 0"),
        (np.full((4, 3, 2), np.nan), None, "whole numbers from 0"),
        (np.ones((4, 3, 2)), "tongue", "label_info must be a list of"),
        (np.ones((4, 3, 2)), [{"idx": 1}], "label_info must be a list of"),
        (np.ones((4, 3, 2)), [{"name": "bolus", "idx": "1"}], "label_info must be a list of"),
        (np.ones((4, 3, 2)), [{"name": "bolus", "idx": 1}, {"name": "tongue", "idx": 1}], "names a value twice"),
    ],
)
def test_a_label_that_does_not_fit_is_refused(tmp_path, values, info, words):
    path = write_values(tmp_path / "sent.nii", values)
    with pytest.raises(RefusedRequestError, match=words):
        read_annotation(path, CINE, STRUCTURES, info)


@pytest.mark.parametrize("name", ["label.exe", "label", "label.nii.bz2"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(RefusedRequestError, match=r"must be one of \.seg\.nrrd"):
        read_annotation(tmp_path / name, CINE, STRUCTURES)


def test_a_damaged_file_is_refused_without_its_name(tmp_path):
    (tmp_path / "someone.nii.gz").write_bytes(b"no label")
    with pytest.raises(RefusedRequestError, match=r"^the label file cannot be read as \.nii\.gz \(") as error:
        read_annotation(tmp_path / "someone.nii.gz", CINE, STRUCTURES)
    assert "someone" not in str(error.value)
