"""Labels: every form gives the same masks, in the order asked for."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.data.labels import parse_label, present_structures, read_labels
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


def save_nrrd(path, values):  # (T, H, W), or another shape, slowest axis first
    kind = {"uint8": "uint8", "int8": "int8", "int64": "int64", "float32": "float"}[values.dtype.name]
    header = f"NRRD0004\ntype: {kind}\ndimension: {values.ndim}\nsizes: {' '.join(map(str, values.shape[::-1]))}\n"
    path.write_bytes(f"{header}encoding: raw\nendian: little\n\n".encode() + values.tobytes())


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
    Image.fromarray(indices[0]).save(tmp_path / "map.tif", save_all=True, append_images=[Image.fromarray(indices[1])])
    save_nrrd(tmp_path / "map.nrrd", indices)
    return {
        "channels": "channels.nii.gz",
        "a NIfTI each": {name: f"{name}.nii.gz" for name in NAMES},
        "a folder of PNGs each": {name: name for name in NAMES},
        "a mixture": {"bolus": "bolus", "hyoid": "hyoid.nii.gz"},
        "an indexed NIfTI": {"map": "map.nii.gz", "values": values},
        "indexed PNGs": {"map": "map", "values": values},
        "an indexed TIFF": {"map": "map.tif", "values": values},
        "an indexed NRRD": {"map": "map.nrrd", "values": values},
    }


@pytest.mark.parametrize(
    "form",
    [
        "channels",
        "a NIfTI each",
        "a folder of PNGs each",
        "a mixture",
        "an indexed NIfTI",
        "indexed PNGs",
        "an indexed TIFF",
        "an indexed NRRD",
    ],
)
def test_every_form_gives_the_same_masks(tmp_path, entries, form):
    spec = parse_label(entries[form], tmp_path, NAMES)
    masks = read_labels(spec, NAMES)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, two_masks())
    np.testing.assert_array_equal(read_labels(spec, ("hyoid",)), two_masks()[:, 1:])
    np.testing.assert_array_equal(read_labels(spec, ("hyoid", "bolus")), two_masks()[:, ::-1])
    assert spec.probe() == (2, 3, 4)


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
    with pytest.raises(ValueError, match=r'values go from 0 to 7\. .*write \{"map"'):
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


def map_label(folder, name, **values):
    return parse_label(
        {"map": name, "values": {value.strip("_"): owner for value, owner in values.items()}}, folder, ()
    )


@pytest.mark.parametrize("values", [[0, 127, 255], [0, 1, 2, 3], [0, 257, 514], [-1, 0, 1]])
def test_values_of_a_map_that_nobody_named_are_refused_with_both_lists(tmp_path, values):
    save_nifti(tmp_path / "map.nii", np.array([[values]], np.int32))
    spec = map_label(tmp_path, "map.nii", _1="hyoid", _2="c2")
    found = ", ".join(map(str, values))
    with pytest.raises(
        ValueError, match=rf"map\.nii: the map holds the values {found}, but the data list names 1 'hyoid"
    ):
        read_labels(spec, ["hyoid"])
    with pytest.raises(ValueError, match="name every value that is there, or correct the map"):
        present_structures(spec)


def test_zero_is_background_unless_it_is_named(tmp_path):
    save_nifti(tmp_path / "map.nii", np.array([[[0, 1]]], np.uint8))
    assert present_structures(map_label(tmp_path, "map.nii", _1="hyoid", _2="c2")) == {"hyoid"}
    named = map_label(tmp_path, "map.nii", _0="c2", _1="hyoid")
    assert read_labels(named, ["c2"])[0, 0].tolist() == [[1, 0]]


def test_two_values_may_be_of_one_structure(tmp_path):
    save_nifti(tmp_path / "map.nii", np.array([[[0, 1, 2, 3]]], np.uint8))
    spec = map_label(tmp_path, "map.nii", _1="lung", _2="lung", _3="heart")
    assert spec.structures == ("lung", "heart")
    assert read_labels(spec, ["lung"])[0, 0].tolist() == [[0, 1, 1, 0]]


@pytest.mark.parametrize("values", [[0, 1.0000001, 1.9999999], [0.0, 1.004, 1.996]])
def test_whole_numbers_with_rounding_error_are_whole_numbers(tmp_path, values):
    save_nifti(tmp_path / "map.nii", np.array([[values]], np.float32))
    masks = read_labels(map_label(tmp_path, "map.nii", _1="hyoid", _2="c2"), ["hyoid", "c2"])
    assert masks[0].tolist() == [[[0, 1, 0]], [[0, 0, 1]]]


def test_a_map_that_a_header_scales_into_eight_bits_is_read(tmp_path):
    indices = np.arange(13, dtype=np.float32).reshape(1, 1, 13)
    image = nib.Nifti1Image(indices.T[:, :, None], np.eye(4))
    image.set_data_dtype(np.uint8)  # nibabel then spreads 0-12 over 0-255 and writes scl_slope
    nib.save(image, tmp_path / "map.nii")
    assert nib.load(tmp_path / "map.nii").dataobj.slope != 1
    spec = map_label(tmp_path, "map.nii", **{f"_{value}": f"s{value}" for value in range(1, 13)})
    assert read_labels(spec, ["s1", "s12"])[0, :, 0].argmax(axis=1).tolist() == [1, 12]


def test_a_map_resampled_linearly_is_refused(tmp_path):
    save_nifti(tmp_path / "map.nii", np.array([[[0, 0.5, 1]]], np.float32))
    with pytest.raises(ValueError, match=r"whole numbers \(within 0\.05\), got 0\.5: resample maps by the nearest"):
        read_labels(map_label(tmp_path, "map.nii", _1="hyoid"), ["hyoid"])


@pytest.mark.parametrize("values", [[0, 1.0000001], [0, 255.0001], [0.0, 0.6]])
def test_a_mask_with_rounding_error_is_a_mask_and_a_faint_one_is_refused(tmp_path, values):
    save_nifti(tmp_path / "mask.nii", np.array([[values]], np.float32))
    spec = parse_label({"hyoid": "mask.nii"}, tmp_path, ())
    if values[1] > 0.9:
        assert read_labels(spec, ["hyoid"])[0, 0].tolist() == [[0, 1]]
    else:
        with pytest.raises(ValueError, match=r"a mask holds 0 and 1, or 0 and 255; its values go from 0 to 0\.6"):
            read_labels(spec, ["hyoid"])


def test_values_that_are_no_numbers_are_refused(tmp_path):
    save_nifti(tmp_path / "mask.nii", np.array([[[0, np.nan]]], np.float32))
    for spec in (parse_label({"hyoid": "mask.nii"}, tmp_path, ()), map_label(tmp_path, "mask.nii", _1="hyoid")):
        with pytest.raises(ValueError, match=r"mask\.nii: a mask holds finite numbers"):
            read_labels(spec, ["hyoid"])


@pytest.mark.parametrize(("name", "options"), [("m.jpg", {}), ("m.png", {}), ("m.tif", {"compression": "jpeg"})])
def test_a_mask_compressed_with_loss_is_refused_whatever_its_name(tmp_path, name, options):
    kind = "TIFF" if options else "JPEG"
    Image.new("L", (16, 16), 255).save(tmp_path / name, format=kind, **options)
    for spec in (parse_label({"hyoid": name}, tmp_path, ()), map_label(tmp_path, name, _255="hyoid")):
        with pytest.raises(UnreadableStudyError, match=f"{kind} changes the values of a mask: export it without loss"):
            read_labels(spec, ["hyoid"])


@pytest.mark.parametrize("name", ["mask.dcm", "mask.npy", "mask.nrrd", "mask.png"])
def test_what_is_no_mask_names_the_formats_that_are(tmp_path, name):
    (tmp_path / name).write_text("no mask")
    with pytest.raises(
        UnreadableStudyError, match=rf"{name}: .*a mask is a NIfTI, NRRD or MetaImage file, a PNG, a TI"
    ):
        parse_label({"hyoid": name}, tmp_path, ()).probe()


@pytest.mark.parametrize("values", [np.ones((3, 4), np.int8), np.ones((2, 3, 4), np.int64), np.ones((1, 3, 4), "f4")])
def test_an_nrrd_of_any_type_is_read(tmp_path, values):
    save_nrrd(tmp_path / "mask.nrrd", values)
    spec = parse_label({"hyoid": "mask.nrrd"}, tmp_path, ())
    assert read_labels(spec, ["hyoid"]).shape == (spec.probe()[0], 1, 3, 4)
    assert read_labels(spec, ["hyoid"]).all()


def test_an_nrrd_of_layers_is_refused(tmp_path):
    header = "NRRD0004\ntype: uint8\ndimension: 4\nsizes: 2 4 3 1\nkinds: list domain domain domain\nencoding: raw\n\n"
    (tmp_path / "mask.seg.nrrd").write_bytes(header.encode() + bytes(24))
    with pytest.raises(UnreadableStudyError, match=r"expected one value per pixel, got 2|expected a mask \(X, Y\)"):
        read_labels(parse_label({"hyoid": "mask.seg.nrrd"}, tmp_path, ()), ["hyoid"])


def test_a_cut_off_mask_is_refused(tmp_path):
    save_nrrd(tmp_path / "mask.nrrd", np.ones((2, 30, 40), np.uint8))
    Image.effect_noise((30, 40), 9).save(tmp_path / "mask.png")
    for name in ("mask.nrrd", "mask.png"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UnreadableStudyError, match=rf"{name}: .*damaged"):
            read_labels(parse_label({"hyoid": name}, tmp_path, ()), ["hyoid"])


def test_hidden_files_in_a_folder_of_masks_are_left_out(tmp_path):
    save_pictures(tmp_path / "hyoid", np.ones((2, 3, 4), np.uint8))
    (tmp_path / "hyoid/._0.png").write_bytes(b"\0" * 4096)
    assert parse_label({"hyoid": "hyoid"}, tmp_path, ()).probe() == (2, 3, 4)


def test_pictures_of_a_folder_have_one_size_and_one_page(tmp_path):
    save_pictures(tmp_path / "hyoid", np.ones((2, 3, 4), np.uint8))
    spec = parse_label({"hyoid": "hyoid"}, tmp_path, ())
    Image.new("L", (5, 5)).save(tmp_path / "hyoid/1.png")
    with pytest.raises(UnreadableStudyError, match="masks of one clip must have one size, got 3 x 4 and 5 x 5"):
        read_labels(spec, ["hyoid"])
    Image.new("L", (4, 3)).save(tmp_path / "hyoid/1.tif", save_all=True, append_images=[Image.new("L", (4, 3))])
    with pytest.raises(UnreadableStudyError, match=r"1\.tif: .*2 pages in one of a folder's pictures: name this file"):
        read_labels(spec, ["hyoid"])
