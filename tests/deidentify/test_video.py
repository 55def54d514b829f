"""A video's copy: the same frames at the same times; no title, no sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bundle.data.clip import UnreadableStudyError
from bundle.data.readers import read_clip
from bundle.deidentify.copies import VIDEO_FORMATS, deidentify_video
from bundle.deidentify.pseudonyms import Pseudonyms

CODECS = {".avi": "mjpeg", ".mp4": "h264", ".m4v": "h264", ".mov": "h264", ".mkv": "h264"}


def write_video(path: Path) -> None:
    """Ten frames with a title, an author, a date and a sound track."""
    with av.open(str(path), "w", format=VIDEO_FORMATS[path.suffix]) as container:
        container.metadata.update(
            {"title": "MUSTERMANN ERIKA", "artist": "Dr HOUSE", "comment": "HOSP-4711", "creation_time": "2019-11-03"}
        )
        stream = container.add_stream(CODECS[path.suffix], rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if path.suffix == ".avi" else "yuv420p"
        stream.metadata["handler_name"] = "MUSTERMANN"
        sound = container.add_stream("pcm_s16le" if path.suffix in (".avi", ".mkv", ".mov") else "aac", rate=8000)
        for index in range(10):
            values = np.random.default_rng(index).integers(0, 255, (48, 64), np.uint8)
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(values, format="gray").reformat(format=stream.pix_fmt))
            )
        container.mux(stream.encode())
        samples = av.AudioFrame.from_ndarray(np.ones((1, 8000), np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(sound.encode(samples))
        container.mux(sound.encode())


@pytest.mark.parametrize("suffix", sorted(VIDEO_FORMATS))
def test_the_copy_has_the_frames_and_times_and_nothing_else(tmp_path, suffix):
    source = tmp_path / f"MUSTERMANN{suffix}"
    write_video(source)
    assert b"HOSP-4711" in source.read_bytes()
    made = deidentify_video(source, tmp_path / "out", Pseudonyms())
    copy, notes = made.target, made.notes
    content = copy.read_bytes() + copy.name.encode()
    assert [secret for secret in (b"MUSTERMANN", b"HOUSE", b"HOSP-4711", b"2019-11-03") if secret in content] == []
    before, after = read_clip(source), read_clip(copy)
    np.testing.assert_array_equal(after.frames, before.frames)
    np.testing.assert_allclose(after.frame_times_ms, before.frame_times_ms, atol=1.0)  # MKV counts in milliseconds
    with av.open(str(copy)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    assert "1 other stream(s), such as sound, left out" in notes
    assert "look at the pixels" in notes[0]


def test_no_video_is_refused_and_leaves_nothing(tmp_path):
    source = tmp_path / "a.avi"
    source.write_bytes(b"no video")
    with pytest.raises(UnreadableStudyError, match="no video that can be copied"):
        deidentify_video(source, tmp_path / "out", Pseudonyms())
    assert list((tmp_path / "out").iterdir()) == []


def test_a_copy_that_is_there_is_the_same_or_stays(tmp_path):
    write_video(tmp_path / "a.avi")
    pseudonyms = Pseudonyms()
    copy = deidentify_video(tmp_path / "a.avi", tmp_path / "out", pseudonyms)
    assert deidentify_video(tmp_path / "a.avi", tmp_path / "out", pseudonyms).status == "done earlier"
    copy.target.write_bytes(b"another")
    with pytest.raises(FileExistsError, match="another copy of this"):
        deidentify_video(tmp_path / "a.avi", tmp_path / "out", pseudonyms)
    assert copy.target.read_bytes() == b"another"
