"""LoadFramed: one frame of a clip and its label, as tensors."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader
from PIL import Image

from bundle.data.labels import parse_label
from bundle.transforms import load
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

NAMES = ("bolus", "hyoid")


@pytest.fixture
def entry(tmp_path):
    """Frame 1 of a clip of two frames, 3 x 4; the hyoid is in its corner."""
    for folder in ("clip", "bolus", "hyoid"):
        (tmp_path / folder).mkdir()
    for index in range(2):
        Image.new("L", (4, 3), 51 * (index + 1)).save(tmp_path / f"clip/{index}.png")
        Image.new("L", (4, 3), 0).save(tmp_path / f"bolus/{index}.png")
        corner = Image.new("L", (4, 3), 0)
        corner.putpixel((3, 0), 255 * index)
        corner.save(tmp_path / f"hyoid/{index}.png")
    label = parse_label({"bolus": "bolus", "hyoid": "hyoid"}, tmp_path, NAMES)
    return {"image": tmp_path / "clip", "label": label, "frame": 1, "label_frame": 1, "patient": "p1", "clip": "clip"}


def test_a_frame_and_its_masks_become_tensors(entry):
    loaded = LoadFramed(NAMES)(entry)
    assert (loaded["image"].shape, loaded["image"].dtype) == ((1, 3, 4), torch.float32)
    torch.testing.assert_close(loaded["image"], torch.full((1, 3, 4), 0.4))
    assert (loaded["label"].shape, loaded["label"].dtype) == ((2, 3, 4), torch.uint8)
    assert loaded["label"].nonzero().tolist() == [[1, 0, 3]]
    assert (loaded["frame"], loaded["patient"], loaded["clip"]) == (1, "p1", "clip")
    assert "label_frame" not in loaded


def test_without_structures_no_label_is_loaded(entry):
    del entry["label"], entry["label_frame"]
    assert "label" not in LoadFramed(None)(entry)


def test_unknown_spacing_is_not_a_number(entry):
    spacing = LoadFramed(NAMES)(entry)["pixel_spacing_mm"]
    assert spacing.shape == (2,)
    assert spacing.isnan().all()


def test_the_data_lists_spacing_is_used_where_the_file_has_none(entry):
    spacing = LoadFramed(NAMES)({**entry, "pixel_spacing_mm": (0.3, 0.4)})["pixel_spacing_mm"]
    torch.testing.assert_close(spacing, torch.tensor([0.3, 0.4]))


# The shape of pixels


@pytest.fixture
def with_aspect(monkeypatch):
    """Makes the file say what shape its pixels have, and its calibrated spacing if given."""
    read = load.read_clip

    def state(pixel_aspect: float, **attributes) -> None:
        monkeypatch.setattr(
            load, "read_clip", lambda path: replace(read(path), pixel_aspect=pixel_aspect, **attributes)
        )

    return state


def test_pixels_are_square_unless_somebody_says_other(entry):
    assert LoadFramed(NAMES)(entry)["pixel_aspect"] == 1
    assert LoadFramed(NAMES)({**entry, "pixel_spacing_mm": (0.3, 0.3)})["pixel_aspect"] == 1


def test_the_file_the_data_list_or_its_spacing_says_the_shape_of_pixels(entry, with_aspect):
    assert LoadFramed(NAMES)({**entry, "pixel_aspect": 1.125})["pixel_aspect"] == 1.125
    assert LoadFramed(NAMES)({**entry, "pixel_spacing_mm": (0.27, 0.3)})["pixel_aspect"] == pytest.approx(0.9)
    with_aspect(1.125)
    assert LoadFramed(NAMES)(entry)["pixel_aspect"] == 1.125
    assert LoadFramed(NAMES)({**entry, "pixel_spacing_mm": (0.45, 0.401)})["pixel_aspect"] == 1.125  # rounded


def test_two_shapes_of_one_pixel_are_refused(entry, with_aspect):
    with_aspect(1.125)
    words = r"height divided by its width is 1\.125 and 1, by the file and the data list's .*: correct the data list"
    with pytest.raises(ValueError, match=words):
        LoadFramed(NAMES)({**entry, "pixel_spacing_mm": (0.3, 0.3)})
    with pytest.raises(ValueError, match=words):
        LoadFramed(NAMES)({**entry, "pixel_aspect": 1.0})


def test_a_calibrated_spacing_goes_before_the_data_lists_for_the_shape_too(entry, with_aspect):
    with_aspect(1.125, pixel_spacing_mm=(0.45, 0.4), spacing_source="calibrated PixelSpacing")
    loaded = LoadFramed(NAMES)({**entry, "pixel_spacing_mm": (0.3, 0.3)})
    assert loaded["pixel_aspect"] == 1.125
    torch.testing.assert_close(loaded["pixel_spacing_mm"], torch.tensor([0.45, 0.4]))


def test_training_frames_and_labels_have_square_pixels(entry, with_aspect):
    with_aspect(1.5)  # 3 rows of 4 columns: 4.5 high, 4 wide
    boxed = Letterboxd(("image", "label"), 36)(LoadFramed(NAMES)(entry))
    assert boxed["valid"].sum() == 36 * 32
    rows, columns = boxed["label"][1].nonzero().T
    assert (int(rows.max()) + 1, int(columns.max() - columns.min()) + 1) == (12, 8)  # one pixel, 1.5 times as high


# One entry after another


def test_a_sparse_label_is_indexed_by_its_own_frames(entry):
    loaded = LoadFramed(NAMES)({**entry, "frame": 0})  # frame 0 with the label's frame 1
    torch.testing.assert_close(loaded["image"], torch.full((1, 3, 4), 0.2))
    assert loaded["label"].sum() == 1


def test_a_clip_is_decoded_once_for_all_its_frames(entry, monkeypatch):
    read, count = load.read_clip, []
    monkeypatch.setattr(load, "read_clip", lambda path: count.append(path) or read(path))
    transform = LoadFramed(NAMES)
    for frame in (0, 1, 0):
        transform({**entry, "frame": frame})
    assert len(count) == 1


def test_what_was_decoded_does_not_travel_to_another_process(entry):
    transform = LoadFramed(NAMES)
    before = len(pickle.dumps(transform))
    transform(entry)
    assert len(pickle.dumps(transform)) == before


def test_changing_a_loaded_frame_leaves_the_next_load_alone(entry):
    transform = LoadFramed(NAMES)
    transform(entry)["image"].zero_()
    assert transform(entry)["image"].max() > 0


def test_monais_datasets_and_loaders_take_the_frames(entry):
    dataset = CacheDataset([{**entry, "frame": frame} for frame in (0, 1)], LoadFramed(NAMES), progress=False)
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    assert batch["image"].shape == (2, 1, 3, 4)
    assert batch["label"].shape == (2, 2, 3, 4)
    assert batch["pixel_spacing_mm"].shape == (2, 2)
    assert batch["patient"] == ["p1", "p1"]


def test_a_frame_beyond_the_clip_is_refused(entry):
    with pytest.raises(ValueError, match=r"clip has 2 frames, frame 2 \(counted from 0\) is asked for"):
        LoadFramed(NAMES)({**entry, "frame": 2})


def test_masks_of_another_size_are_refused(entry, tmp_path):
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "large.png")
    label = parse_label({"bolus": "large.png", "hyoid": None}, tmp_path, NAMES)
    with pytest.raises(ValueError, match="is 5 x 4 pixels, its frames are 3 x 4: export the masks"):
        LoadFramed(NAMES)({**entry, "label": label, "label_frame": 0})


def test_an_entry_without_a_label_is_refused_when_structures_are_asked_for(entry):
    del entry["label"]
    with pytest.raises(ValueError, match=r"has no label, but structures \['bolus', 'hyoid'\] are asked for"):
        LoadFramed(NAMES)(entry)
