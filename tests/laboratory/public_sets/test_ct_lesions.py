"""CT sub-volumes become clips of slices with their masks and spacing; a patient's sub-volumes stay together."""

import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.data.datalist import SECTIONS, check_datalist, load_datalist, read_datalist
from bundle.laboratory.public_sets.ct_lesions import crop, make_ct_lesion_datalist, read_ct_volume
from bundle.transforms.load import LoadFramed

PATIENTS = ["000001", "000002", "000009", "000010", "000015", "000015"]
NAMES = [f"CT_Lesion_{patient}_01_01_{index}00-{index}03" for index, patient in enumerate(PATIENTS)]
DIRECTION = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0]


def write_volume(path, seed=0, **other):
    """Four slices of 6 rows and 8 columns of dim noise; a bright lesion in the middle two."""
    image = np.random.default_rng(seed).integers(0, 60, (4, 6, 8), dtype=np.uint8)
    mask = np.zeros_like(image)
    mask[1:3, 2:5, 3:7] = 1
    image[mask == 1] = 250
    entries = {"imgs": image, "gts": mask, "spacing": [0.5, 0.25, 5.0], "direction": DIRECTION, "origin": [0.0] * 3}
    np.savez(path, **{name: value for name, value in {**entries, **other}.items() if value is not None})
    return image, mask


def write_volumes(folder, names=NAMES):
    folder.mkdir(parents=True)
    return {name: write_volume(folder / f"{name}.npz", seed) for seed, name in enumerate(names)}


def test_a_frame_is_a_slice_with_its_mask_and_spacing(tmp_path):
    written = write_volumes(tmp_path / "ct")
    path = make_ct_lesion_datalist(tmp_path / "ct", tmp_path / "list")
    load = LoadFramed(["lesion"], finds_field_of_view=False)
    frames = [load(entry) for section in SECTIONS for entry in load_datalist(path, section, ["lesion"])]
    assert len(frames) == 6 * 4
    for frame in frames:
        image, mask = written[frame["clip"].removeprefix("images/")]
        index = frame["frame"]
        torch.testing.assert_close(frame["image"][0], torch.from_numpy(image[index]) / 255)
        assert np.array_equal(frame["label"][0], mask[index])
        assert frame["pixel_spacing_mm"].tolist() == [0.25, 0.5]  # rows, columns: ITK says x first


def test_a_voxel_is_where_itk_says(tmp_path):
    write_volume(tmp_path / "a.npz", spacing=[0.5, 0.25, 5.0], origin=[10.0, 20.0, 30.0])
    # x runs to the back, y to the left, z down: (2, 3, 1) is 0.75 left, 1 back and 5 down of the origin (10, 20, 30)
    # in ITK's left, back, up; NIfTI counts to the right and front.
    affine = read_ct_volume(tmp_path / "a.npz").affine
    assert (affine @ [2, 3, 1, 1]).tolist() == [-10.75, -21.0, 25.0, 1.0]


def test_the_written_nifti_has_the_spacing_of_all_three_axes(tmp_path):
    write_volumes(tmp_path / "ct", NAMES[:3])
    root = make_ct_lesion_datalist(tmp_path / "ct", tmp_path / "list").parent
    header = nib.load(root / "images" / f"{NAMES[0]}.nii.gz").header
    assert header.get_data_shape() == (8, 6, 4)
    assert header.get_zooms() == (0.5, 0.25, 5.0)
    assert header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("seed", range(5))
def test_both_sub_volumes_of_a_patient_are_on_one_side(tmp_path, seed):
    write_volumes(tmp_path / "ct")
    content = read_datalist(make_ct_lesion_datalist(tmp_path / "ct", tmp_path / "list", seed=seed))
    holding = [section for section in SECTIONS for item in content[section] if item["patient"] == "000015"]
    assert len(holding) == 2
    assert len(set(holding)) == 1
    assert "DeepLesion" in content["source"]
    assert content["license"]


def test_the_same_files_are_written_twice_alike(tmp_path):
    write_volumes(tmp_path / "ct", NAMES[:3])
    contents = []
    for root in (tmp_path / "one", tmp_path / "two"):
        make_ct_lesion_datalist(tmp_path / "ct", root)
        contents.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*.nii.gz")})
    assert len(contents[0]) == 6
    assert contents[0] == contents[1]


def test_a_field_is_cut_around_the_middle_of_the_largest_slice_and_keeps_its_place(tmp_path):
    mask = np.zeros((4, 6, 8), np.uint8)
    mask[0, 0, 0] = 1
    mask[2, 2:5, 3:7] = 1  # its middle is at row 3.5, column 5, in pixels' edges
    image, _ = write_volume(tmp_path / "a.npz", gts=mask, spacing=[1.0, 1.0, 5.0], origin=[10.0, 20.0, 30.0])
    whole = read_ct_volume(tmp_path / "a.npz")
    part = crop(whole, field_mm=4.0)
    assert np.array_equal(part.image, image[:, 2:6, 3:7])
    assert np.array_equal(part.mask, mask[:, 2:6, 3:7])
    assert (part.affine @ [0, 0, 1, 1]).tolist() == (whole.affine @ [3, 2, 1, 1]).tolist()


def test_a_field_stays_within_the_slice(tmp_path):
    mask = np.zeros((4, 6, 8), np.uint8)
    mask[1, 5, 7] = 1
    write_volume(tmp_path / "a.npz", gts=mask, spacing=[0.5, 1.0, 5.0])
    whole = read_ct_volume(tmp_path / "a.npz")
    assert np.array_equal(crop(whole, 2.0).mask, mask[:, 4:, 4:])  # 2 rows of 1 mm, 4 columns of 0.5 mm
    assert crop(whole, 100.0).image.shape == (4, 6, 8)


def test_a_field_without_a_lesion_is_refused(tmp_path):
    write_volume(tmp_path / "a.npz", gts=np.zeros((4, 6, 8), np.uint8))
    with pytest.raises(ValueError, match=r"a field above 0 mm and a lesion, got 4.0 mm, 0 voxels"):
        crop(read_ct_volume(tmp_path / "a.npz"), 4.0)


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no CT sub-volumes: expected CT_Lesion_\*.npz in the folder .*gone"):
        make_ct_lesion_datalist(tmp_path / "gone", tmp_path)


def test_a_name_without_a_patient_is_refused(tmp_path):
    write_volumes(tmp_path / "ct", ["lesion_7"])
    with pytest.raises(ValueError, match=r"lesion_7.npz: expected a name CT_Lesion_<patient>_"):
        make_ct_lesion_datalist(tmp_path / "ct", tmp_path / "list")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"gts": None}, r"expected an .npz with \['imgs', 'gts', .*gts"),
        (
            {"gts": np.zeros((3, 6, 8), np.uint8)},
            r"expected imgs .* and gts of the same size, got \(4, 6, 8\) uint8 and \(3, 6, 8\)",
        ),
        ({"imgs": np.zeros((4, 6, 8), np.float32)}, r"expected imgs \(slices, rows, columns\) uint8 .* float32"),
        ({"spacing": np.array([None, 1], object)}, r"expected an .npz with"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, entries, message):
    write_volume(tmp_path / "a.npz", **entries)
    with pytest.raises(ValueError, match=rf"a.npz: {message}"):
        read_ct_volume(tmp_path / "a.npz")


def test_the_real_sub_volumes_are_read(shared_dir, tmp_path):
    folder = shared_dir / "data" / "ct_lesions"
    if not folder.is_dir():
        pytest.skip("the CT sub-volumes (../shared/data/ct_lesions) are not on this machine")
    found = check_datalist(make_ct_lesion_datalist(folder, tmp_path), ["lesion"], SECTIONS)
    assert sum(section.num_patients for section in found.values()) == 5
    assert sum(section.num_clips for section in found.values()) == 6
    assert sum(section.num_frames or 0 for section in found.values()) == 81
