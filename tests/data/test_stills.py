"""Pictures: one is a clip of one frame, a folder is a clip in natural order."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from bundle.data.clip import ClipShape
from bundle.data.frame_stream import collect_clip
from bundle.data.readers import UnreadableStudyError, probe_clip, read_clip
from bundle.data.stills import check_png_rows, probe_stills, stream_stills


def save_gray(path, value, size=(4, 3)):
    Image.new("L", size, value).save(path)


def test_a_folder_is_in_natural_order_and_names_what_it_excludes(tmp_path):
    for number in (10, 9, 100):
        save_gray(tmp_path / f"frame{number}.png", number)
    for name in ("Thumbs.db", "._frame1.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"any")
    clip = read_clip(tmp_path)
    assert [origin.path.name for origin in clip.origin] == ["frame9.png", "frame10.png", "frame100.png"]
    np.testing.assert_allclose(clip.frames[:, 0, 0, 0] * 255, [9, 10, 100], atol=1e-4)
    assert clip.warnings == ("excluded, not part of the clip: 'notes.txt'",)
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
    assert "colored pixels (up to 100.0 %)" in red.warnings[0]


def test_mixed_sizes_are_refused(tmp_path):
    save_gray(tmp_path / "1.png", 0)
    save_gray(tmp_path / "2.png", 0, size=(5, 3))
    with pytest.raises(UnreadableStudyError, match=r"2\.png: .* 3 x 5 pixels, but '1\.png' of the same clip has 3 x 4"):
        read_clip(tmp_path)


def test_a_cut_picture_is_refused(tmp_path):
    path = tmp_path / "still.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UnreadableStudyError, match=r"still\.png: .* damaged or cut off"):
        read_clip(path)


def test_a_tiff_of_many_pages_is_a_clip(tmp_path):
    path = tmp_path / "cine.tif"
    first, *rest = (Image.new("L", (4, 3), value) for value in (10, 20, 30))
    first.save(path, save_all=True, append_images=rest)
    clip = collect_clip(stream_stills([path], "cine"))
    np.testing.assert_allclose(clip.frames[:, 0, 0, 0] * 255, [10, 20, 30])
    assert [(origin.path, origin.index) for origin in clip.origin] == [(path, 0), (path, 1), (path, 2)]
    assert probe_stills([path]) == ClipShape(3, 3, 4)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (np.uint8, {}),
        (np.uint16, {}),
        (np.uint8, {"byteorder": ">"}),
        (np.uint8, {"compression": "zlib"}),
        (np.uint16, {"bigtiff": True}),
    ],
    ids=["8 bits", "16 bits", "big-endian", "deflated", "BigTIFF"],
)
def test_tiff_values_are_exact_and_miniswhite_is_inverted_once(tmp_path, dtype, options, photometric):
    full_scale = np.iinfo(dtype).max
    stored = np.random.default_rng(0).integers(0, full_scale, (2, 3, 5), dtype=dtype, endpoint=True)
    tifffile.imwrite(tmp_path / "cine.tif", stored, photometric=photometric, **options)
    shown = stored if photometric == "minisblack" else full_scale - stored
    clip = collect_clip(stream_stills([tmp_path / "cine.tif"], "cine"))
    np.testing.assert_allclose(clip.frames[:, 0], shown / full_scale, atol=1e-6)


def test_a_big_endian_tiff_of_16_bits_is_read_where_black_is_0_and_refused_where_white_is(tmp_path):
    stored = np.array([[0, 257, 65535]], np.uint16)
    for photometric in ("minisblack", "miniswhite"):
        tifffile.imwrite(tmp_path / f"{photometric}.tif", stored, photometric=photometric, byteorder=">")
    np.testing.assert_allclose(
        collect_clip(stream_stills([tmp_path / "minisblack.tif"], "")).frames[0, 0], stored / 65535, rtol=1e-6
    )
    with pytest.raises(UnreadableStudyError, match="no PNG, JPEG or TIFF in it"):  # Pillow knows no such mode
        collect_clip(stream_stills([tmp_path / "miniswhite.tif"], ""))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_tiff_values_without_a_white_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "cine.tif", np.zeros((3, 5), dtype))
    with pytest.raises(UnreadableStudyError, match=r"whole, without a sign, of at most 16 bits, got \d\d bits"):
        collect_clip(stream_stills([tmp_path / "cine.tif"], "cine"))


def test_pages_of_another_size_are_refused(tmp_path):
    path = tmp_path / "pyramid.tif"
    Image.new("L", (8, 6)).save(path, save_all=True, append_images=[Image.new("L", (4, 3))])
    with pytest.raises(UnreadableStudyError, match=r"3 x 4 pixels, but 'pyramid\.tif' of the same clip has 6 x 8"):
        collect_clip(stream_stills([path], "pyramid"))


def test_a_tiff_of_many_pages_among_pictures_is_refused(tmp_path):
    paths = [tmp_path / "1.tif", tmp_path / "2.tif"]
    Image.new("L", (4, 3)).save(paths[0])
    Image.new("L", (4, 3)).save(paths[1], save_all=True, append_images=[Image.new("L", (4, 3))])
    with pytest.raises(UnreadableStudyError, match=r"2\.tif: .* is a clip of its own among 2 files"):
        collect_clip(stream_stills(paths, "mixed"))
    assert probe_stills(paths[:1]) == ClipShape(1, 3, 4)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_a_cut_tiff_is_refused(tmp_path, compression):
    path = tmp_path / "still.tif"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path, compression=compression)
    with path.open("rb+") as file:  # its directory may stand at the end, or the pixels
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(UnreadableStudyError, match=r"still\.tif: .*(damaged or cut off|no PNG, JPEG or TIFF)"):
        collect_clip(stream_stills([path], "still"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_is_followed_and_told_of(tmp_path, suffix, orientation):
    path = tmp_path / f"still{suffix}"
    values = np.zeros((16, 32), np.uint8)
    values[:8, :8] = 200
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(values).save(path, exif=exif)
    clip = collect_clip(stream_stills([path], "still"))
    upright = np.rot90(values, k={3: 2, 6: -1}[orientation])
    np.testing.assert_allclose(clip.frames[0, 0] * 255, upright, atol=6)
    assert f"EXIF orientation {orientation}" in clip.warnings[0]
    assert (probe_stills([path]).rows, probe_stills([path]).columns) == upright.shape


@pytest.mark.parametrize("mode", ["P", "1", "LA", "RGBA", "RGB"])
def test_every_way_to_store_the_same_gray_gives_the_same_clip(tmp_path, mode):
    values = np.zeros((4, 6), np.uint8)
    values[1:3, 2:4] = 255
    Image.fromarray(values).convert(mode).save(tmp_path / "still.png")
    clip = read_clip(tmp_path / "still.png")
    np.testing.assert_allclose(clip.frames[0, 0] * 255, values, atol=1e-3)
    assert clip.warnings == ()


def test_transparent_pixels_are_told_of(tmp_path):
    Image.new("LA", (4, 3), (100, 0)).save(tmp_path / "still.png")
    clip = read_clip(tmp_path / "still.png")
    np.testing.assert_allclose(clip.frames * 255, 100, atol=1e-3)
    assert clip.warnings == ("transparent pixels are shown as stored",)


def test_an_animated_png_gives_its_first_picture_and_says_so(tmp_path):
    first = Image.new("L", (4, 3), 100)
    first.save(tmp_path / "still.png", save_all=True, append_images=[Image.new("L", (4, 3), 50)])
    clip = read_clip(tmp_path / "still.png")
    assert clip.frames.shape == (1, 1, 3, 4)
    assert clip.warnings == ("more than one picture in it: the first is read",)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "LA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (17, 9)])
def test_a_black_png_has_all_its_rows(tmp_path, mode, size):
    path = tmp_path / "still.png"
    Image.new(mode, size).save(path)
    check_png_rows(path)
    assert read_clip(path).frames.max() == 0


def test_rows_of_an_interlaced_png_are_counted_by_its_passes(tmp_path):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    def interlaced(num_bytes):  # 5 x 3 pixels of 8 bits: passes of 1x1, 1x1, -, 2x1, 3x1 (row 2), 2x2, 5x1
        header = struct.pack(">IIBBBBB", 5, 3, 8, 0, 0, 0, 1)
        pixels = chunk(b"IDAT", zlib.compress(bytes(num_bytes)))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")

    by_hand = (1 + 1) + (1 + 1) + (1 + 1) + (1 + 3) + 2 * (1 + 2) + (1 + 5)  # a filter byte in each row
    (tmp_path / "whole.png").write_bytes(interlaced(by_hand))
    check_png_rows(tmp_path / "whole.png")
    (tmp_path / "short.png").write_bytes(interlaced(by_hand - 1))
    with pytest.raises(UnreadableStudyError, match=f"{by_hand - 1} of {by_hand} bytes are there"):
        check_png_rows(tmp_path / "short.png")
