"""Video: every frame in order with its time stamp; what is damaged is said or refused."""

import av
import numpy as np
import pytest

from bundle.data.readers import UnreadableStudyError, probe_clip, read_clip


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


def test_uneven_time_stamps_are_kept(tmp_path, write_video):
    path = write_video(tmp_path / "swallow.mp4", brightening(4), codec="mpeg4", rate=10, pts=[0, 1, 4, 5])
    np.testing.assert_allclose(read_clip(path).frame_times_ms, [0, 100, 400, 500])


def test_the_header_alone_gives_the_size(tmp_path, write_video):
    shape = probe_clip(write_video(tmp_path / "swallow.avi", brightening()))
    assert (shape.num_frames, shape.rows, shape.columns) == (12, 32, 48)


def test_a_cut_avi_gives_the_frames_that_are_there_and_a_warning(tmp_path, write_video):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "cut.avi", rng.integers(0, 256, (12, 32, 48), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = read_clip(path)
    assert 3 <= clip.num_frames < 12
    assert any(f"the header says 12 frames, the file has {clip.num_frames}" in note for note in clip.warnings)


def test_a_cut_mp4_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "cut.mp4", brightening(), codec="mpeg4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UnreadableStudyError, match=r"cut\.mp4: not a readable study: no video that FFmpeg can open"):
        read_clip(path)


def test_repeated_frames_are_reported(tmp_path, write_video):
    clip = read_clip(write_video(tmp_path / "capture.avi", np.repeat(brightening(8), 2, axis=0)))
    assert any("8 of 16 frames repeat the one before" in note for note in clip.warnings)


def test_a_file_with_sound_only_has_no_video_stream(tmp_path):
    path = tmp_path / "sound.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(UnreadableStudyError, match=r"sound\.avi: not a readable study: no video stream"):
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
    assert any("coloured pixels" in note for note in read_clip(path).warnings)


def test_the_real_swallow_reads(shared_dir):
    shape = probe_clip(shared_dir / "data/vfss_real/healthy_swallow.avi")
    assert (shape.num_frames, shape.rows, shape.columns) == (118, 920, 1512)
