"""A black rectangle: only it changes, on every frame, whatever is black in the file."""

from io import BytesIO

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from bundle.data.clip import UnreadableStudyError
from bundle.data.readers import read_clip
from bundle.deidentify.blacken import Rectangle
from bundle.deidentify.copies import deidentify_dicom
from bundle.deidentify.pseudonyms import Pseudonyms
from tests.deidentify.conftest import set_pixels, write_stuffed

RECTANGLE = Rectangle(2, 5, 9, 31)


def copy_of(source, tmp_path, rectangle=RECTANGLE) -> pydicom.Dataset:
    copy = deidentify_dicom(source, tmp_path / "out", Pseudonyms(), rectangle)
    assert "blackened, written uncompressed" in copy.notes
    return pydicom.dcmread(copy.target)


@pytest.mark.parametrize("rle", [False, True], ids=["uncompressed", "RLE"])
def test_only_the_rectangle_changes_on_every_frame(tmp_path, study, rle):
    write_stuffed(study, tmp_path / "a.dcm", rle)
    written = copy_of(tmp_path / "a.dcm", tmp_path)
    expected = study.stored.copy()
    assert expected[:, 2:9, 5:31].any(axis=(1, 2)).all()
    expected[:, 2:9, 5:31] = 0
    np.testing.assert_array_equal(written.pixel_array, expected)
    assert written.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (written.BitsStored, written.NumberOfFrames) == (12, 3)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_a_viewer_shows_it_black(tmp_path, study, photometric, dtype):
    dataset = write_stuffed(study, tmp_path / "a.dcm")
    offset = 2048 if dtype == np.int16 else 0
    set_pixels(dataset, (study.stored.astype(np.int32) - offset).astype(dtype))
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = int(dtype == np.int16), photometric
    dataset.WindowCenter, dataset.WindowWidth = 2048 - offset, 4096
    dataset.save_as(tmp_path / "a.dcm")
    written = copy_of(tmp_path / "a.dcm", tmp_path)
    written.save_as(tmp_path / "b.dcm")
    assert (read_clip(tmp_path / "b.dcm").frames[:, 0, 2:9, 5:31] == 0).all()


def test_a_color_capture_of_one_frame_stays_one(tmp_path, study):
    dataset = write_stuffed(study, tmp_path / "a.dcm")
    values = np.random.default_rng(0).integers(1, 255, (40, 40, 3), np.uint8)
    set_pixels(dataset, values)
    del dataset.NumberOfFrames
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.save_as(tmp_path / "a.dcm")
    written = copy_of(tmp_path / "a.dcm", tmp_path)
    values[2:9, 5:31] = 0
    np.testing.assert_array_equal(written.pixel_array, values)
    assert "NumberOfFrames" not in written


def test_pixels_that_were_compressed_with_loss_keep_saying_so(tmp_path, study):
    dataset = write_stuffed(study, tmp_path / "a.dcm")
    picture = BytesIO()
    Image.fromarray(np.full((40, 40), 200, np.uint8)).save(picture, "jpeg")
    dataset.PixelData = pydicom.encaps.encapsulate([picture.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.NumberOfFrames, dataset.LossyImageCompression = 1, None
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.save_as(tmp_path / "a.dcm")
    written = copy_of(tmp_path / "a.dcm", tmp_path)
    assert written.LossyImageCompression == "01"
    assert written.pixel_array[2:9, 5:31].max() == 0
    assert written.pixel_array[20, 20] == 200


def test_burned_in_annotation_stays_as_it_was_since_nobody_has_looked(tmp_path, study):
    write_stuffed(study, tmp_path / "a.dcm", BurnedInAnnotation="YES")
    assert copy_of(tmp_path / "a.dcm", tmp_path).BurnedInAnnotation == "YES"


def test_a_rectangle_that_leaves_the_image_is_refused(tmp_path, study):
    write_stuffed(study, tmp_path / "a.dcm")
    with pytest.raises(UnreadableStudyError, match="--blacken leaves the image, which has 40 x 40 pixels"):
        copy_of(tmp_path / "a.dcm", tmp_path, Rectangle(0, 0, 5, 41))


def test_an_image_without_a_known_black_is_refused(tmp_path, study):
    write_stuffed(study, tmp_path / "a.dcm", PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(UnreadableStudyError, match="does not know what is black in PALETTE COLOR"):
        copy_of(tmp_path / "a.dcm", tmp_path)


def test_a_rectangle_is_read_from_text():
    assert Rectangle.parse("2, 5,9,31") == RECTANGLE


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1,2,3,4,5", ""])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=f"ROW0,COL0,ROW1,COL1, four whole numbers, got '{text}'"):
        Rectangle.parse(text)


@pytest.mark.parametrize("text", ["5,0,4,9", "0,9,4,5", "-1,0,4,9"])
def test_a_rectangle_with_its_corners_exchanged_is_refused(text):
    with pytest.raises(ValueError, match="0 <= ROW0 <= ROW1"):
        Rectangle.parse(text)
