"""A clip in chunks is the clip as a whole, whatever its kind and faults, and a few chunks are in memory at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from PIL import Image

from bundle.data import clip as clip_module
from bundle.data import readers
from bundle.data.clip import Clip, UnreadableStudyError
from bundle.data.frame_stream import FrameChunk
from bundle.data.readers import decode_clip, read_clip, stream_clip
from bundle.data.worker import AHEAD, IN_PROCESS_VARIABLE, WORKER, DecodeWorker, Limits, WorkerError
from tests.data.test_video import jpeg, mux_jpegs

LIMITS = Limits(seconds=30, num_bytes=2**28)
NUM_FRAMES = 11
STORED = np.random.default_rng(0).integers(0, 4096, (NUM_FRAMES, 40, 48)).astype(np.uint16)
BYTES = (STORED // 16).astype(np.uint8)
WINDOW = {"WindowCenter": 2000, "WindowWidth": 3000}
SHUTTER = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [20, 24], "RadiusOfCircularShutter": 12}


def streamed(source: Path, chunk_frames: int = 4, **options) -> tuple[np.ndarray, Clip, list[int]]:
    """Frames as shown, what the end tells, and the first frame of every chunk."""
    frames: list[np.ndarray] = []
    firsts = []
    for item in stream_clip(source, chunk_frames, **options):
        if isinstance(item, Clip):
            return np.concatenate(frames), item, firsts
        firsts.append(item.first)
        frames = [*([] if item.first == 0 else frames), item.shown()]
        assert len(item.stored) <= chunk_frames
    raise AssertionError("the clip did not come at the end")


def write_pictures(folder: Path) -> Path:
    folder.mkdir()
    for index, frame in enumerate(BYTES):
        Image.fromarray(frame).save(folder / f"frame{index}.png")
    return folder


def write_nifti(path: Path, values: np.ndarray, **header) -> Path:
    image = nib.Nifti1Image(values.T[:, :, None], np.diag([0.3, 0.3, 1, 1]))
    image.header.set_xyzt_units("mm", "sec")
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def write_series(folder: Path, write_dicom: Callable[..., Path]) -> Path:
    folder.mkdir()
    for index, frame in enumerate(STORED):
        uids = {"SeriesInstanceUID": "1.2.3", "InstanceNumber": NUM_FRAMES - index}
        write_dicom(folder / f"{index}.dcm", frame[None], **uids)
    return folder


KINDS: dict[str, Callable] = {
    "DICOM with a window": lambda at, dicom, _: dicom(at / "a.dcm", STORED, **WINDOW, FrameTime=40),
    "DICOM without a window, with a shutter": lambda at, dicom, _: dicom(at / "a.dcm", STORED, **SHUTTER),
    "DICOM in color": lambda at, dicom, _: dicom(at / "a.dcm", np.repeat(BYTES[..., None], 3, axis=3), **SHUTTER),
    "DICOM series without a window": lambda at, dicom, _: write_series(at / "series", dicom),
    "AVI": lambda at, _, video: video(at / "a.avi", BYTES),
    "MP4": lambda at, _, video: video(at / "a.mp4", BYTES, "libx264"),
    "film that repeats frames": lambda at, _, video: video(at / "a.avi", np.repeat(BYTES, 2, axis=0)),
    "folder of PNG": lambda at, *_: write_pictures(at / "pictures"),
    "NIfTI uint8, gzip": lambda at, *_: write_nifti(at / "a.nii.gz", BYTES),
    "NIfTI uint16 by percentiles": lambda at, *_: write_nifti(at / "a.nii", STORED),
    "NIfTI uint16 by cal_max, gzip": lambda at, *_: write_nifti(at / "a.nii.gz", STORED, cal_max=3000),
    "NIfTI float in [0, 1]": lambda at, *_: write_nifti(at / "a.nii.gz", (STORED / 4096).astype(np.float32)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_frames", [1, 4, 32])
def test_chunks_together_are_the_clip(tmp_path, write_dicom, write_video, kind, chunk_frames):
    path = KINDS[kind](tmp_path, write_dicom, write_video)
    whole = read_clip(path)
    frames, clip, firsts = streamed(path, chunk_frames)
    np.testing.assert_array_equal(frames, whole.frames)
    assert firsts[-1] == (whole.num_frames - 1) // chunk_frames * chunk_frames
    assert clip.shape == whole.shape
    for name in ("frame_times_source", "pixel_spacing_mm", "spacing_source", "pixel_aspect", "origin", "warnings"):
        assert getattr(clip, name) == getattr(whole, name), name
    np.testing.assert_array_equal(clip.frame_times_ms, whole.frame_times_ms)
    assert ("repeat the one before" in " ".join(clip.warnings)) == kind.startswith("film")


def test_frames_without_a_window_are_shown_by_the_percentiles_of_the_whole_clip_from_the_first_chunk_on(
    tmp_path, write_dicom
):
    dark_then_bright = np.sort(STORED.reshape(-1)).reshape(STORED.shape)
    path = write_dicom(tmp_path / "a.dcm", dark_then_bright)
    frames, clip, firsts = streamed(path)
    assert firsts == [0, 4, 8]
    assert frames[0].max() < 0.2
    assert [words for words in clip.warnings if words.startswith("no window in the header")]


def test_a_damaged_frame_in_the_middle_starts_the_clip_anew(tmp_path):
    frames = [jpeg(32, 48)] * 25
    frames[20] = b"\xff\xd8\xff\xd9"
    path = mux_jpegs(tmp_path / "damaged.avi", frames)
    whole = read_clip(path)
    shown, clip, firsts = streamed(path, 2)
    assert "1 of its frames are damaged (" in clip.warnings[0]
    assert firsts.count(0) == 2
    assert clip.num_frames == 24
    assert clip.warnings == whole.warnings
    np.testing.assert_array_equal(shown, whole.frames)


def test_what_only_the_end_tells_is_raised_there(tmp_path, write_video):
    path = write_video(tmp_path / "cut.avi", BYTES)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert streamed(path)[1].num_frames < NUM_FRAMES
    with pytest.raises(UnreadableStudyError, match=r"the header says 11 frames, the file has \d: it may be cut off"):
        streamed(path, strict=True)


def test_a_clip_too_long_to_be_read_as_a_whole_can_be_streamed(tmp_path, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "long.dcm", STORED, **WINDOW)
    monkeypatch.setenv(IN_PROCESS_VARIABLE, "1")
    monkeypatch.setattr(clip_module, "MAX_CLIP_BYTES", 4 * STORED.size // 2)
    with pytest.raises(UnreadableStudyError, match=r"11 frames of 40 x 48 pixels, .* the clip must be cut first"):
        decode_clip(path)
    assert len(streamed(path)[0]) == NUM_FRAMES
    monkeypatch.setattr(clip_module, "MAX_CLIP_BYTES", 1000)
    with pytest.raises(UnreadableStudyError, match="the header is damaged"):
        streamed(path)


# The process that decodes


@pytest.fixture(scope="module")
def worker():
    """One process for this file's calls."""
    process = DecodeWorker()
    yield process
    process.close()


def count(path: Path | None, number: int) -> Iterator[int]:
    """Numbers; a file grows by a byte with each."""
    for index in range(number):
        if path is not None:
            with path.open("ab") as file:
                file.write(b".")
        yield index


def hang(seconds_before: dict[int, float]) -> Iterator[int]:
    """Numbers, some of which take long."""
    for index in range(3):
        time.sleep(seconds_before.get(index, 0))
        yield index


def fail(error: BaseException | None) -> Iterator[np.ndarray]:
    """A value, and then an error, or too much memory."""
    yield np.zeros(3)
    if error is not None:
        raise error
    yield np.ones(2**27)


def test_values_of_a_generator_come_in_order_and_the_process_serves_on(worker):
    pid = worker.call(abs, -2, limits=LIMITS), worker._process.pid
    assert list(worker.stream(count, None, 20, limits=LIMITS)) == list(range(20))
    assert list(worker.stream(count, None, 0, limits=LIMITS)) == []
    assert (worker.call(abs, -2, limits=LIMITS), worker._process.pid) == pid


def test_the_process_works_a_few_values_ahead_and_no_more(worker, tmp_path):
    values = worker.stream(count, tmp_path / "made", 100, limits=LIMITS)
    next(values)
    deadline = time.monotonic() + 10
    while (tmp_path / "made").stat().st_size < AHEAD and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    assert (tmp_path / "made").stat().st_size == AHEAD
    assert sum(1 for _ in values) == 99


def test_the_time_limit_is_of_each_value_and_the_first_may_have_its_own(worker):
    limits = Limits(seconds=1.0, num_bytes=2**28, first_seconds=20.0)
    assert list(worker.stream(hang, {0: 1.5, 1: 0.4, 2: 0.4}, limits=limits)) == [0, 1, 2]
    values = worker.stream(hang, {2: 60}, limits=limits)
    assert [next(values), next(values)] == [0, 1]
    process = psutil.Process(worker._process.pid)
    with pytest.raises(WorkerError, match=r"longer than its limit of 1 s"):
        next(values)
    process.wait(timeout=10)


def test_an_error_on_the_way_comes_where_it_happened(worker):
    values = worker.stream(fail, ZeroDivisionError("halfway"), limits=LIMITS)
    assert next(values).shape == (3,)
    with pytest.raises(ZeroDivisionError, match="halfway"):
        next(values)
    values = worker.stream(fail, None, limits=LIMITS)
    next(values)
    with pytest.raises(WorkerError, match="needs more memory than"):
        next(values)
    assert worker.call(abs, -2, limits=LIMITS) == 2


def test_a_stream_that_is_left_leaves_nothing_behind(worker):
    values = worker.stream(count, None, 100, limits=LIMITS)
    next(values)
    values.close()
    assert worker.call(divmod, 17, 5, limits=LIMITS) == (3, 2)


def test_while_a_film_streams_other_files_can_be_read(tmp_path, write_dicom, write_video):
    film, other = write_video(tmp_path / "a.avi", BYTES), write_dicom(tmp_path / "b.dcm", STORED, **WINDOW)
    chunks = stream_clip(film, 2)
    first = next(chunks)
    assert isinstance(first, FrameChunk)
    assert read_clip(other).num_frames == NUM_FRAMES
    assert sum(len(item.stored) for item in chunks if isinstance(item, FrameChunk)) == NUM_FRAMES - 2


def test_a_decoder_that_dies_on_the_way_is_the_files_fault(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", np.repeat(BYTES, 20, axis=0))
    chunks = stream_clip(path, 1)
    next(chunks)
    psutil.Process(WORKER._process.pid).kill()
    with pytest.raises(UnreadableStudyError, match=r"a\.avi: not a readable study: its decoder crashed \(SIGKILL\)"):
        list(chunks)
    assert readers.read_clip(path).num_frames == 20 * NUM_FRAMES


FAILS_HALFWAY = """
import sys
from bundle.data.prefetch import prefetched
from bundle.data.readers import stream_clip
chunks = prefetched(stream_clip(sys.argv[1], 1))
next(chunks)
raise SystemExit("an error of the program")
"""


def test_a_program_that_fails_halfway_through_a_film_ends(tmp_path, write_video, bundle_root):
    path = write_video(tmp_path / "a.avi", np.repeat(BYTES, 20, axis=0))
    environment = {**os.environ, "PYTHONPATH": str(bundle_root)}
    command = [sys.executable, "-c", FAILS_HALFWAY, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert (ended.returncode, ended.stderr) == (1, "an error of the program\n")
