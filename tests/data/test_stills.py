"""Pictures: one is a clip of one frame, a folder is a clip in natural order."""

import numpy as np
import pytest
from PIL import Image

from bundle.data.readers import UnreadableStudyError, probe_clip, read_clip


def save_gray(path, value, size=(4, 3)):
    Image.new("L", size, value).save(path)


def test_a_folder_is_in_natural_order_and_names_what_it_excludes(tmp_path):
    for number in (10, 9, 100):
        save_gray(tmp_path / f"frame{number}.png", number)
    (tmp_path / "Thumbs.db").write_bytes(b"thumbnails")
    clip = read_clip(tmp_path)
    assert [origin.path.name for origin in clip.origin] == ["frame9.png", "frame10.png", "frame100.png"]
    np.testing.assert_allclose(clip.frames[:, 0, 0, 0] * 255, [9, 10, 100], atol=1e-4)
    assert clip.warnings == ("excluded, not part of the clip: Thumbs.db",)
    assert clip.frame_times_ms is None
    assert clip.name == tmp_path.name


def test_one_picture_is_a_clip_of_one_frame(tmp_path):
    save_gray(tmp_path / "still.png", 51)
    clip = read_clip(tmp_path / "still.png")
    assert clip.frames.shape == (1, 1, 3, 4)
    np.testing.assert_allclose(clip.frames, 0.2)
    assert probe_clip(tmp_path / "still.png").columns == 4


def test_16_bit_png_keeps_its_depth(tmp_path):
    values = np.array([[0, 257, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "still.png")
    np.testing.assert_allclose(read_clip(tmp_path / "still.png").frames[0, 0], values / 65535, rtol=1e-6)


def test_a_16_bit_png_with_12_bits_used_is_warned_of(tmp_path):
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "still.png")
    assert "at most 12 of their bits" in read_clip(tmp_path / "still.png").warnings[0]


def test_gray_in_rgb_is_gray_and_colors_are_warned_of(tmp_path):
    Image.new("RGB", (4, 3), (102, 102, 102)).save(tmp_path / "gray.png")
    Image.new("RGB", (4, 3), (200, 0, 0)).save(tmp_path / "red.png")
    gray, red = read_clip(tmp_path / "gray.png"), read_clip(tmp_path / "red.png")
    np.testing.assert_allclose(gray.frames, 0.4, atol=1e-6)
    assert gray.warnings == ()
    assert "coloured pixels (up to 100.0 %)" in red.warnings[0]


def test_mixed_sizes_are_refused(tmp_path):
    save_gray(tmp_path / "1.png", 0)
    save_gray(tmp_path / "2.png", 0, size=(5, 3))
    with pytest.raises(UnreadableStudyError, match=r"2\.png: .* 3 x 5 pixels, but 1\.png of the same clip has 3 x 4"):
        read_clip(tmp_path)


def test_a_cut_picture_is_refused(tmp_path):
    path = tmp_path / "still.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UnreadableStudyError, match=r"still\.png: .* damaged or cut off"):
        read_clip(path)
