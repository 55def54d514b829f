"""One entry for every source; what is no study is refused by file and reason."""

import pickle

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import RLELossless

from bundle.data.clip import Clip, FrameOrigin
from bundle.data.readers import UnreadableStudyError, read_clip


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.dcm", b"", "the file is empty"),
        ("zeros.avi", bytes(2000), "named .avi, but its content is no DICOM, video"),
        ("zeros.dcm", bytes(2000), "no DICOM image|damaged DICOM"),
        ("zeros", bytes(2000), "its content is no DICOM, video"),
        ("text.avi", b"hello, this is not a video\n" * 100, "named .avi, but its content is no DICOM, video"),
        ("text.dcm", b"hello, this is no DICOM\n" * 100, "named .dcm, but its content is no DICOM"),
        ("text.png", b"hello, this is no picture\n" * 100, "named .png, but its content is no DICOM"),
        ("text.nii.gz", b"hello, this is no NIfTI\n" * 100, "no NIfTI in it"),
        ("head_only.avi", b"RIFF\x00\x10\x00\x00AVI LIST", "not a readable study"),
    ],
)
def test_what_is_no_study_is_refused_by_file_and_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableStudyError, match=reason) as caught:
        read_clip(path)
    assert f"{name}: not a readable study" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".avi", ".dcm"])
def test_a_renamed_png_is_refused(tmp_path, suffix):
    path = tmp_path / f"renamed{suffix}"
    Image.new("L", (4, 4)).save(path, format="PNG")
    with pytest.raises(UnreadableStudyError, match=f"named {suffix}, but its content is picture"):
        read_clip(path)


def test_a_missing_path_is_named():
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: nowhere/cine\.dcm"):
        read_clip("nowhere/cine.dcm")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(UnreadableStudyError, match="no DICOM, PNG, JPEG or TIFF file among its 1 files"):
        read_clip(tmp_path)


def test_a_folder_that_mixes_dicom_and_pictures_is_refused(tmp_path, write_dicom):
    write_dicom(tmp_path / "cine.dcm", np.zeros((1, 2, 2), np.uint8))
    Image.new("L", (2, 2)).save(tmp_path / "still.png")
    with pytest.raises(UnreadableStudyError, match="mixes 1 DICOM files with 1 pictures"):
        read_clip(tmp_path)


def test_the_error_survives_the_way_back_from_a_worker(tmp_path):
    error = pickle.loads(pickle.dumps(UnreadableStudyError("cine.dcm", "it is empty")))
    assert str(error) == "cine.dcm: not a readable study: it is empty"


def test_a_clip_refuses_frames_without_a_channel():
    with pytest.raises(ValueError, match=r"frames must be grayscale and not empty, \(T, 1, H, W\), got \(2, 3, 3\)"):
        Clip(np.zeros((2, 3, 3), np.float32), None, None, "none", origin=())


def test_a_clip_refuses_an_origin_that_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match="one entry for each of 2 frames, got 1"):
        Clip(np.zeros((2, 1, 3, 3), np.float32), None, None, "none", origin=(FrameOrigin(tmp_path, 0),))


@pytest.mark.parametrize("share", [0.0, 0.3], ids=["header", "anywhere"])
def test_random_damage_never_leaks_another_error(tmp_path, write_dicom, write_video, share):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 32, 32), dtype=np.uint8)
    sources = [write_dicom(tmp_path / "cine.dcm", frames), write_dicom(tmp_path / "rle.dcm", frames, RLELossless)]
    sources += [write_video(tmp_path / "cine.avi", frames)]
    outcomes = set()
    for source in sources:
        intact = np.frombuffer(source.read_bytes(), np.uint8)
        for _ in range(40):
            damaged = intact.copy()
            end = int(max(share * len(damaged), 700))
            damaged[rng.integers(0, end, size=20)] = rng.integers(0, 256, size=20)
            source.write_bytes(damaged.tobytes())
            try:
                outcomes.add(type(read_clip(source)))
            except UnreadableStudyError:
                outcomes.add(UnreadableStudyError)
    assert outcomes == {Clip, UnreadableStudyError}
