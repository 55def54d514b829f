"""Video: every frame in order with its time stamp; what is damaged is said or refused."""

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bundle.data.frame_stream import collect_clip
from bundle.data.kinds import VIDEO_SUFFIXES
from bundle.data.readers import UnreadableStudyError, probe_clip, read_clip
from bundle.data.video import stream_video

IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # MP4's display matrix

CONTAINERS = [
    ("cine.avi", "mjpeg", {}),
    ("cine.avi", "rawvideo", {"pix_fmt": "gray"}),
    ("cine.avi", "libx264", {}),
    ("cine.avi", "dvvideo", {"size": (576, 720)}),
    ("cine.mp4", "libx264", {}),
    ("cine.mp4", "libx265", {}),
    ("cine.m4v", "mpeg4", {"container": "mp4"}),
    ("cine.mov", "libx264", {}),
    ("cine.mkv", "libx264", {}),
    ("cine.mkv", "ffv1", {"pix_fmt": "gray"}),
    ("cine.webm", "libvpx-vp9", {}),
    ("cine.mpg", "mpeg1video", {}),
    ("cine.mpeg", "mpeg2video", {}),
    ("cine.vob", "mpeg2video", {"container": "vob"}),
    ("cine.ts", "libx264", {}),
    ("cine.wmv", "wmv2", {}),
    ("cine.asf", "wmv2", {}),
]


def noise(num_frames: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, *size), dtype=np.uint8)


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str,
    pix_fmt: str = "yuv420p",
    source: str = "gray",
    container: str | None = None,
    options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    **context: object,
) -> Path:
    """Encode frames at 25 frames/s; further keywords set the encoder's attributes."""
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = file.add_stream(codec, rate=25, options=quiet)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else pix_fmt
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for index, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(values, format=source)
            frame.pts, frame.time_base = (pts[index] if pts else index), Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def jpeg(rows: int, columns: int) -> bytes:
    """One gray frame, compressed."""
    context = av.CodecContext.create("mjpeg", "w")
    context.height, context.width, context.pix_fmt, context.time_base = rows, columns, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.full((rows, columns), 100, np.uint8), format="gray")
    return b"".join(bytes(packet) for packet in context.encode(frame) + context.encode(None))


def mux_jpegs(path: Path, frames: list[bytes], rows: int = 32, columns: int = 48) -> Path:
    """Write compressed frames as they are, empty ones too."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = rows, columns, "yuvj420p"
        for index, content in enumerate(frames):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            file.mux(packet)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def brightening(num_frames: int = 12) -> np.ndarray:
    """Frames of one gray value each, from 16 upwards in steps of 16."""
    return np.repeat(np.arange(1, num_frames + 1, dtype=np.uint8) * 16, 32 * 48).reshape(num_frames, 32, 48)


def test_frames_come_in_order_with_their_gray_values(tmp_path, write_video):
    clip = read_clip(write_video(tmp_path / "swallow.avi", brightening()))
    assert clip.frames.shape == (12, 1, 32, 48)
    np.testing.assert_allclose(clip.frames[:, 0, 8, 8] * 255, np.arange(1, 13) * 16, atol=2)
    assert (clip.name, clip.pixel_spacing_mm, clip.spacing_source) == ("swallow", None, "none")


def test_black_and_white_of_limited_range_video_become_0_and_1(tmp_path, write_video):
    frames = np.zeros((2, 32, 48), np.uint8)
    frames[1] = 255
    clip = read_clip(write_video(tmp_path / "swallow.mp4", frames, codec="mpeg4"))
    np.testing.assert_allclose([clip.frames[0].mean(), clip.frames[1].mean()], [0, 1], atol=0.02)


@pytest.mark.parametrize(("name", "codec", "how"), CONTAINERS)
def test_every_container_gives_every_frame_in_order_with_its_time(tmp_path, name, codec, how):
    size = how.get("size", (64, 96))
    levels = np.linspace(20, 230, 8).round().astype(np.uint8)
    frames = np.repeat(levels, size[0] * size[1]).reshape(8, *size)
    path = encode(tmp_path / name, frames, codec, **{key: value for key, value in how.items() if key != "size"})
    clip = read_clip(path)
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)) * 255, levels, atol=3)
    np.testing.assert_allclose(clip.frame_times_ms, np.arange(8) * 40.0, atol=0.5)  # Matroska rounds to 1 ms
    shape = probe_clip(path)
    assert (shape.num_frames, shape.rows, shape.columns) == (8, *size)
    assert [note for note in clip.warnings if "square" not in note and "interlaced" not in note] == []


def test_every_suffix_but_aliases_is_written_by_a_test():
    aliases = {".m2ts", ".mts"}  # a transport stream with time codes between its packets
    assert {Path(name).suffix for name, _, _ in CONTAINERS} == set(VIDEO_SUFFIXES) - aliases


def test_a_camcorders_transport_stream_reads(tmp_path):
    frames = brightening(4)
    path = encode(tmp_path / "cine.m2ts", frames, "libx264", container="mpegts", options={"mpegts_m2ts_mode": "1"})
    assert collect_clip(stream_video(path)).num_frames == 4


@pytest.mark.parametrize(("pix_fmt", "bits"), [("gray10le", 10), ("gray12le", 12), ("gray16le", 16)])
def test_gray_of_more_than_8_bits_keeps_its_depth(tmp_path, pix_fmt, bits):
    stored = np.random.default_rng(0).integers(0, 2**bits, (2, 32, 48), dtype=np.uint16)
    clip = read_clip(encode(tmp_path / "deep.mkv", stored, "ffv1", pix_fmt, source=pix_fmt))
    np.testing.assert_array_equal(np.rint(clip.frames[:, 0] * (2**bits - 1)), stored)


def test_luminance_of_10_bit_video_is_not_cut_to_8_bits(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 512).astype(np.uint16), (1, 32, 1))
    path = encode(tmp_path / "deep.mkv", ramp, "ffv1", "yuv420p10le", source="gray16le")
    clip = read_clip(path)
    assert len(np.unique(clip.frames)) > 400
    np.testing.assert_allclose(clip.frames[0, 0], ramp[0] / 65535, atol=2 / 876)  # limited range has 876 steps


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p"], ids=["limited range", "full range"])
def test_black_and_white_are_0_and_1_in_both_ranges(tmp_path, pix_fmt):
    frames = np.stack([np.zeros((32, 48), np.uint8), np.full((32, 48), 255, np.uint8)])
    clip = read_clip(encode(tmp_path / "range.mp4", frames, "libx264", pix_fmt))
    np.testing.assert_allclose([clip.frames[0].mean(), clip.frames[1].mean()], [0, 1], atol=0.01)


def test_a_full_range_flag_without_a_full_range_format_is_followed(tmp_path):
    path = tmp_path / "flag.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.color_range = 2  # JPEG
        gray = av.VideoFrame.from_ndarray(np.full((32, 48), 10, np.uint8), format="gray")
        file.mux(stream.encode(gray.reformat(format="yuv420p", dst_color_range="JPEG")))
        file.mux(stream.encode(None))
    np.testing.assert_allclose(read_clip(path).frames.mean() * 255, 10, atol=1)


def test_uneven_time_stamps_are_kept(tmp_path, write_video):
    path = write_video(tmp_path / "swallow.mp4", brightening(4), codec="mpeg4", rate=10, pts=[0, 1, 4, 5])
    clip = read_clip(path)
    np.testing.assert_allclose(clip.frame_times_ms, [0, 100, 400, 500])
    assert clip.frame_times_source == "display time stamps"


@pytest.mark.parametrize(("name", "codec"), [("late.mp4", "libx264"), ("late.mkv", "libx264"), ("late.wmv", "wmv2")])
def test_a_start_later_than_zero_and_uneven_steps_are_kept(tmp_path, name, codec):
    path = encode(tmp_path / name, brightening(4), codec, pts=[50, 51, 54, 60])
    np.testing.assert_allclose(read_clip(path).frame_times_ms, [0, 40, 160, 400], atol=0.6)


def test_avi_with_b_frames_has_its_times_although_avi_does_not_keep_them(tmp_path):
    clip = read_clip(encode(tmp_path / "cine.avi", noise(12), "libx264"))
    np.testing.assert_allclose(clip.frame_times_ms, np.arange(12) * 40.0)


def test_frames_that_a_capture_dropped_leave_their_time_and_are_told_of(tmp_path):
    gray = jpeg(32, 48)
    clip = read_clip(mux_jpegs(tmp_path / "dropped.avi", [gray, b"", gray, gray]))
    np.testing.assert_allclose(clip.frame_times_ms, [0, 80, 120])
    assert clip.warnings == ("1 frames were dropped by the capture; the others keep their times",)


def test_an_empty_first_frame_is_no_frame(tmp_path):
    clip = read_clip(mux_jpegs(tmp_path / "dropped.avi", [b"", *[jpeg(32, 48)] * 3]))
    np.testing.assert_allclose(clip.frame_times_ms, [0, 40, 80])
    np.testing.assert_allclose(clip.frames, 100 / 255, atol=0.01)
    assert "1 frames were dropped" in clip.warnings[0]


def test_frames_of_another_size_are_refused(tmp_path):
    path = mux_jpegs(tmp_path / "mixed.avi", [jpeg(32, 48)] * 3 + [jpeg(24, 40)] * 3)
    with pytest.raises(UnreadableStudyError, match=r"size changes at frame 3: 48 x 32 to 40 x 24 pixels"):
        read_clip(path)


@pytest.mark.parametrize(
    ("matrix", "expected", "words"),
    [
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, k=-1), "turned 90 degrees clockwise"),
        ((-1, 0, 0, -1), lambda frame: np.rot90(frame, k=2), "turned 180 degrees clockwise"),
        ((0, -1, 1, 0), lambda frame: np.rot90(frame, k=1), "turned 270 degrees clockwise"),
        ((-1, 0, 0, 1), np.fliplr, "mirrored"),
        ((1, 0, 0, -1), np.flipud, "mirrored"),
    ],
)
def test_a_display_matrix_is_followed_and_told_of(tmp_path, matrix, expected, words):
    frame = np.zeros((32, 48), np.uint8)
    frame[:16, :16] = 200  # top left
    frame[:16, 16:32] = 100
    path = encode(tmp_path / "turned.mp4", frame[None], "mpeg4")
    a, b, c, d = (value << 16 for value in matrix)
    content = path.read_bytes()
    start = content.index(IDENTITY, content.index(b"tkhd"))
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:start] + turned + content[start + len(turned) :])
    clip = read_clip(path)
    np.testing.assert_allclose(clip.frames[0, 0] * 255, expected(frame), atol=12)
    assert clip.warnings == (f"{words}, as the file's display matrix asks",)
    shape = probe_clip(path)
    assert (shape.rows, shape.columns) == clip.frames.shape[2:]


def test_a_display_matrix_of_another_angle_is_refused(tmp_path):
    path = encode(tmp_path / "turned.mp4", brightening(1), "mpeg4")
    content = path.read_bytes()
    start = content.index(IDENTITY, content.index(b"tkhd"))
    turned = struct.pack(">9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:start] + turned + content[start + len(turned) :])
    with pytest.raises(UnreadableStudyError, match="display matrix turns frames by -45 degrees"):
        read_clip(path)


def test_pixels_that_are_not_square_are_told_of_with_their_ratio(tmp_path):
    frames = np.zeros((2, 480, 720), np.uint8)
    stated = encode(tmp_path / "stated.mpg", frames, "mpeg2video", sample_aspect_ratio=Fraction(8, 9))
    clip = read_clip(stated)
    assert "pixels are not square, 8:9 (width to height)" in clip.warnings[0]
    assert clip.pixel_aspect == pytest.approx(9 / 8)
    silent = encode(tmp_path / "silent.avi", frames, "mjpeg")
    assert "720 x 480 captures seldom have square pixels" in read_clip(silent).warnings[0]


def test_interlaced_frames_are_told_of(tmp_path):
    interlaced = 0x40000 | 0x20000000  # AV_CODEC_FLAG_INTERLACED_DCT, _ME
    path = encode(tmp_path / "fields.mpg", noise(4, (64, 96)), "mpeg2video", flags=interlaced)
    assert any("4 of 4 frames are interlaced" in note for note in read_clip(path).warnings)


def test_of_several_video_streams_the_first_is_read(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 32, 48, "gray"
        for stream, value in zip(streams, (50, 200), strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48), value, np.uint8), format="gray")
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    clip = read_clip(path)
    np.testing.assert_allclose(clip.frames, 50 / 255)
    assert clip.warnings == ("2 video streams in it: the first is read",)


def test_the_header_alone_gives_the_size(tmp_path, write_video):
    shape = probe_clip(write_video(tmp_path / "swallow.avi", brightening()))
    assert (shape.num_frames, shape.rows, shape.columns) == (12, 32, 48)


def test_a_cut_avi_gives_the_frames_that_are_there_and_a_warning(tmp_path, write_video):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "cut.avi", rng.integers(0, 256, (12, 32, 48), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = read_clip(path)
    assert 2 <= clip.num_frames < 12
    assert any(f"the header says 12 frames, the file has {clip.num_frames}" in note for note in clip.warnings)


@pytest.mark.parametrize(
    ("name", "codec", "warning"),
    [
        ("cut.avi", "mjpeg", r"the header says 30 frames, the file has 1\d: it may be cut off"),
        ("cut.avi", "libx264", r"the header says 30 frames, the file has 1\d: it may be cut off"),
        ("cut.mkv", "libx264", r"the header says 1\.20 s, the file's 1\d frames end at 0\.\d\d s: it may be cut off"),
        ("cut.mpg", "mpeg2video", r"the file ends within a frame, after 1\d: it is cut off"),
    ],
)
def test_a_cut_file_gives_whole_frames_and_a_warning_and_strict_mode_fails(tmp_path, name, codec, warning):
    frames = noise(30, (64, 96))
    path = encode(tmp_path / name, frames, codec)
    whole = read_clip(path)
    cut(path)  # the same file: x264 does not encode alike twice
    clip = read_clip(path)
    np.testing.assert_array_equal(clip.frames[:10], whole.frames[:10])
    assert re.search(warning, clip.warnings[0])
    with pytest.raises(UnreadableStudyError, match=warning):
        collect_clip(stream_video(path, strict=True))


def test_a_cut_mp4_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "cut.mp4", brightening(), codec="mpeg4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UnreadableStudyError, match=r"cut\.mp4: not a readable study: no video that FFmpeg can open"):
        read_clip(path)


def test_an_mp4_cut_behind_its_header_is_refused(tmp_path):
    path = encode(tmp_path / "cut.mp4", noise(30, (64, 96)), "libx264", options={"movflags": "faststart"})
    with pytest.raises(UnreadableStudyError, match=r"the header says 30 frames, the file has 1\d: it may be cut off"):
        read_clip(cut(path))


def test_a_fragmented_mp4_cut_within_a_frame_is_refused(tmp_path):
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    path = encode(tmp_path / "cut.mp4", noise(30, (64, 96)), "libx264", options=fragments, gop_size=5)
    assert read_clip(path).num_frames == 30
    with pytest.raises(UnreadableStudyError, match="the file ends within a frame"):
        read_clip(cut(path))


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def parts(content: bytes) -> list[tuple[bytes, int]]:
    """Kind and start of every box of an MP4."""
    found, start = [], 0
    while start < len(content):
        size, kind = struct.unpack_from(">I4s", content, start)
        found.append((kind, start))
        start += size
    return found


def steady() -> np.ndarray:
    """30 frames so much alike that an encoder starts anew when it is told to."""
    return noise(1, (64, 96)) // 2 + np.arange(0, 120, 4, dtype=np.uint8)[:, None, None]


@pytest.fixture
def fragmented(tmp_path) -> Path:
    """30 frames in 6 fragments, which only say each what they have."""
    return encode(tmp_path / "cut.mp4", steady(), "mpeg4", options=FRAGMENTS, gop_size=5)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("kind", "offset"),
    [(b"moof", 2), (b"moof", 12), (b"moof", 40), (b"mdat", 0), (b"mdat", 9), (b"mdat", 600), (b"mfra", 20)],
    ids=["box header", "fragment header", "track", "fragment without frames", "first byte", "frame", "index"],
)
def test_a_fragmented_mp4_cut_anywhere_within_a_box_is_refused(fragmented, kind, offset, strict):
    content = fragmented.read_bytes()
    start = [start for found, start in parts(content) if found == kind][-1]
    fragmented.write_bytes(content[: start + offset])
    with pytest.raises(UnreadableStudyError, match=r"it is cut off|no video that FFmpeg can open"):
        collect_clip(stream_video(fragmented, strict))


def test_a_fragmented_mp4_cut_between_fragments_is_refused_where_its_index_lists_more(tmp_path):
    indexed = {"movflags": "dash+global_sidx+frag_keyframe"}
    path = encode(tmp_path / "cut.mp4", steady(), "mpeg4", options=indexed, gop_size=5)
    assert collect_clip(stream_video(path, strict=True)).num_frames == 30
    fragment = [start for kind, start in parts(path.read_bytes()) if kind == b"moof"][3]
    path.write_bytes(path.read_bytes()[:fragment])
    with pytest.raises(UnreadableStudyError, match="within a part of its container, after 15 frames: it is cut off"):
        collect_clip(stream_video(path))


@pytest.mark.parametrize("strict", [True, False])
def test_a_fragmented_mp4_cut_between_fragments_is_refused_where_its_header_says_a_longer_time(fragmented, strict):
    content = bytearray(fragmented.read_bytes())
    header = content.index(b"mvhd")
    struct.pack_into(">II", content, header + 16, 1000, 1200)
    fragmented.write_bytes(content)
    assert collect_clip(stream_video(fragmented, strict)).num_frames == 30
    fragment = [start for kind, start in parts(content) if kind == b"moof"][3]
    fragmented.write_bytes(content[:fragment])
    with pytest.raises(UnreadableStudyError, match=r"says 1\.20 s, the file's 15 frames end at 0\.56 s"):
        collect_clip(stream_video(fragmented, strict))


def test_a_fragmented_mp4_that_says_nowhere_how_long_it_is_reads_with_a_note(fragmented):
    content = fragmented.read_bytes()
    fragment = [start for kind, start in parts(content) if kind == b"moof"][3]
    fragmented.write_bytes(content[:fragment])
    clip = collect_clip(stream_video(fragmented, strict=True))
    assert clip.num_frames == 15
    assert clip.warnings[0].startswith("the file does not say how long it is: whether frames are missing at its end")


def test_with_sound_a_stated_length_may_be_the_sounds_and_a_cut_between_fragments_is_a_note(fragmented):
    content = bytearray(fragmented.read_bytes())
    header = content.index(b"mvhd")
    struct.pack_into(">II", content, header + 16, 1000, 1200)
    track = content[content.index(b"trak") - 4 :][: struct.unpack_from(">I", content, content.index(b"trak") - 4)[0]]
    track[track.index(b"tkhd") + 16 : track.index(b"tkhd") + 20] = struct.pack(">I", 2)
    at, movie = content.index(b"mvex") - 4, content.index(b"moov") - 4
    struct.pack_into(">I", content, movie, struct.unpack_from(">I", content, movie)[0] + len(track))
    content = content[:at] + track.replace(b"vide", b"soun") + content[at:]
    fragmented.write_bytes(content[: [start for kind, start in parts(content) if kind == b"moof"][3]])
    assert any("does not say how long it is" in note for note in collect_clip(stream_video(fragmented)).warnings)


@pytest.mark.parametrize(
    ("name", "codec", "how"),
    [
        ("cut.webm", "libvpx-vp9", {"options": {"live": "1"}}),
        ("cut.mkv", "ffv1", {"pix_fmt": "gray", "options": {"live": "1"}}),
        ("cut.ts", "libx264", {}),
        ("cut.m2ts", "mpeg2video", {"container": "mpegts", "options": {"mpegts_m2ts_mode": "1"}}),
        ("cut.wmv", "wmv2", {}),
    ],
    ids=["WebM of a browser", "Matroska of a stream", "transport stream", "camcorder", "Windows Media"],
)
def test_a_cut_recording_without_a_stated_length_is_noticed_wherever_it_is_cut(tmp_path, name, codec, how):
    path = encode(tmp_path / name, noise(12, (64, 96)), codec, **how)
    content = path.read_bytes()
    for share in (0.42, 0.55, 0.68, 0.81):
        path.write_bytes(content[: int(share * len(content)) | 1])
        clip = collect_clip(stream_video(path))
        assert 0 < clip.num_frames < 12
        assert any("cut off" in note for note in clip.warnings)
        with pytest.raises(UnreadableStudyError, match="cut off"):
            collect_clip(stream_video(path, strict=True))


def test_damage_in_the_middle_loses_only_the_damaged_frames_and_is_told_of(tmp_path):
    good, bad = jpeg(32, 48), b"\xff\xd8\xff\xd9"
    path = mux_jpegs(tmp_path / "damaged.avi", [good, bad, good, good])
    clip = read_clip(path)
    np.testing.assert_allclose(clip.frame_times_ms, [0, 80, 120])
    assert "1 of its frames are damaged (" in clip.warnings[0]
    with pytest.raises(UnreadableStudyError, match="1 of its frames are damaged"):
        collect_clip(stream_video(path, strict=True))


def test_a_file_that_only_points_to_others_is_not_followed(tmp_path):
    encode(tmp_path / "other.avi", brightening(2), "mjpeg")
    path = tmp_path / "list.avi"
    path.write_text("ffconcat version 1.0\nfile other.avi\n")
    with pytest.raises(UnreadableStudyError, match="no video that FFmpeg can open"):
        collect_clip(stream_video(path))


def test_repeated_frames_are_reported(tmp_path, write_video):
    clip = read_clip(write_video(tmp_path / "capture.avi", np.repeat(brightening(8), 2, axis=0)))
    assert any("8 of 16 frames repeat the one before" in note for note in clip.warnings)


@pytest.mark.parametrize("name", ["sound.avi", "sound.mkv", "sound.mov"])
def test_a_file_with_sound_only_has_no_video_stream(tmp_path, name):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(UnreadableStudyError, match=rf"{name}: not a readable study: no video stream"):
        read_clip(path)


def test_colors_are_warned_of(tmp_path):
    path = tmp_path / "color.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        red = np.zeros((32, 48, 3), np.uint8)
        red[..., 0] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode(None))
    assert any("colored pixels" in note for note in read_clip(path).warnings)


def test_the_real_swallow_reads(shared_dir):
    shape = probe_clip(shared_dir / "data/vfss_real/healthy_swallow.avi")
    assert (shape.num_frames, shape.rows, shape.columns) == (118, 920, 1512)
