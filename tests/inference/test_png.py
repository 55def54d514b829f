"""PNG masks and the table of areas."""

import csv

import numpy as np
import pytest
from PIL import Image

from bundle.inference.study import SegmentedStudy
from bundle.inference.writers import write_areas, write_pngs
from tests.inference.conftest import STRUCTURES, make_clip


def test_every_mask_comes_back_as_0_and_255_and_sorts_in_frame_order(tmp_path, study, masks):
    write_pngs(study, tmp_path)
    assert len(list((tmp_path / "masks").iterdir())) == len(STRUCTURES)
    for s, name in enumerate(STRUCTURES):
        files = sorted((tmp_path / "masks" / name).iterdir())
        assert [file.name for file in files] == [f"frame_0000{t}.png" for t in (1, 2, 3, 4)]
        for t, file in enumerate(files):
            with Image.open(file) as picture:
                assert picture.mode == "L"
                np.testing.assert_array_equal(np.asarray(picture), masks[t, s] * np.uint8(255))


@pytest.mark.parametrize("aspect", [9 / 8, 8 / 9])
def test_the_shape_of_oblong_pixels_is_stated_and_the_masks_stay_on_their_grid(tmp_path, masks, aspect):
    write_pngs(SegmentedStudy(masks, make_clip(pixel_aspect=aspect), STRUCTURES), tmp_path)
    with Image.open(tmp_path / "masks" / "bolus" / "frame_00001.png") as picture:
        across, down = picture.info["aspect"]  # pixels per length, as Pillow reads a pHYs chunk without a unit
        assert across / down == pytest.approx(aspect)
        picture.load()  # checks every chunk's sum
        np.testing.assert_array_equal(np.asarray(picture), masks[0, 0] * np.uint8(255))


def test_square_pixels_need_no_statement(tmp_path, study):
    write_pngs(study, tmp_path)
    assert b"pHYs" not in (tmp_path / "masks" / "bolus" / "frame_00001.png").read_bytes()


def test_a_second_run_leaves_no_frame_of_the_first(tmp_path, study, masks):
    write_pngs(study, tmp_path)
    write_pngs(SegmentedStudy(masks[:1], make_clip(num_frames=1), STRUCTURES), tmp_path)
    assert len(list((tmp_path / "masks" / "hyoid").iterdir())) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["masks"]


@pytest.mark.parametrize("name", ["../hyoid", "a/b", "", ".."])
def test_a_structure_cannot_lead_out_of_the_folder(tmp_path, clip, masks, name):
    with pytest.raises(ValueError, match="names that a folder can have"):
        write_pngs(SegmentedStudy(masks, clip, ("bolus", name, "c2")), tmp_path)


def test_areas_are_counted_per_frame_and_structure(tmp_path, study, masks):
    write_areas(study, tmp_path)
    rows = list(csv.DictReader((tmp_path / "areas.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["time_ms"]) for row in rows] == [0.0, 40.0, 80.0, 120.0]
    assert int(rows[2]["hyoid_px"]) == masks[2, 1].sum()
    assert rows[0]["c2_px"] == "0"


def test_unknown_times_stay_empty(tmp_path, masks):
    write_areas(SegmentedStudy(masks, make_clip(frame_times_ms=None), STRUCTURES), tmp_path)
    assert next(csv.DictReader((tmp_path / "areas.csv").read_text().splitlines()))["time_ms"] == ""
