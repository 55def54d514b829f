"""The decoding process: it may die, hang or run out of memory, and the next file is read all the same."""

import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from torch.utils.data import DataLoader

from bundle.data import readers, worker_channel
from bundle.data import worker as worker_module
from bundle.data.clip import UnreadableStudyError
from bundle.data.readers import read_clip
from bundle.data.worker import IN_PROCESS_VARIABLE, WORKER, DecodeWorker, Limits, WorkerError, WorkerStartError

LIMITS = Limits(seconds=30, num_bytes=2**28)
FRAMES = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)


@pytest.fixture(scope="module")
def worker():
    """One process for this file's calls."""
    process = DecodeWorker()
    yield process
    process.close()


def test_it_answers_with_the_function_own_result_and_is_reused(worker):
    first = worker.call(os.getpid, limits=LIMITS)
    assert worker.call(divmod, 17, 5, limits=LIMITS) == (3, 2)
    assert worker.call(os.getpid, limits=LIMITS) == first != os.getpid()


def test_an_error_of_the_function_comes_back_as_it_is(worker):
    with pytest.raises(ZeroDivisionError, match="by zero"):
        worker.call(divmod, 1, 0, limits=LIMITS)


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (os.abort, (), "crashed (SIGABRT)"),
        (signal.raise_signal, (signal.SIGSEGV,), "crashed (SIGSEGV)"),
        (os._exit, (3,), "crashed (exit status 3)"),
    ],
)
def test_a_decoder_that_crashes_takes_only_the_worker_along(worker, function, args, words):
    with pytest.raises(WorkerError) as caught:
        worker.call(function, *args, limits=LIMITS)
    assert words in str(caught.value)
    assert worker.call(abs, -2, limits=LIMITS) == 2


def test_a_decoder_that_hangs_is_killed_at_its_limit(worker):
    pid = worker.call(os.getpid, limits=LIMITS)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"longer than its limit of 0\.5 s"):
        worker.call(time.sleep, 60, limits=Limits(seconds=0.5, num_bytes=2**28))
    assert time.monotonic() - start < 10
    assert not psutil.pid_exists(pid)
    assert worker.call(abs, -2, limits=LIMITS) == 2


def test_memory_beyond_the_limit_is_refused_and_the_worker_lives_on(worker):
    pid = worker.call(os.getpid, limits=LIMITS)
    with pytest.raises(WorkerError, match=r"needs more memory than the 0\.2 GiB"):
        worker.call(np.ones, 2**27, limits=LIMITS)  # 1 GiB
    assert len(worker.call(np.ones, 2**20, limits=LIMITS)) == 2**20
    assert worker.call(os.getpid, limits=LIMITS) == pid


def test_what_is_no_exception_such_as_a_rust_panic_is_reported(worker):
    with pytest.raises(WorkerError, match=r"panicked \(SystemExit\)"):
        worker.call(sys.exit, 1, limits=LIMITS)


def test_large_arrays_come_back_as_the_callers_own(worker):
    size = worker_channel.SHARED_FROM_BYTES // 4
    frames = worker.call(worker_channel.empty_frames, (4, size), limits=LIMITS)
    assert frames.shape == (4, size)
    frames[:] = 1
    other = worker.call(np.full, 2 * size, 7.0, limits=LIMITS)  # not allocated by us
    assert (other == 7.0).all()
    assert (frames == 1).all()
    descriptors = psutil.Process().num_fds()
    for _ in range(5):
        worker.call(worker_channel.empty_frames, (4, size), limits=LIMITS)
    assert psutil.Process().num_fds() == descriptors


def test_pages_are_written_again_only_when_no_array_refers_to_them(worker):
    size = worker_channel.SHARED_FROM_BYTES
    process = psutil.Process(worker.call(os.getpid, limits=LIMITS))
    first = worker.call(np.full, size, 5, "u1", limits=LIMITS)
    view = first[::2]
    del first
    second = worker.call(np.full, size, 6, "u1", limits=LIMITS)
    assert (view == 5).all()
    assert (second == 6).all()
    del view
    segments = process.num_fds()
    third = worker.call(np.full, size, 7, "u1", limits=LIMITS)  # into the first one's pages
    assert (third == 7).all()
    assert (second == 6).all()
    assert process.num_fds() == segments


def test_an_unnamed_file_reads_back_and_is_nowhere_in_a_folder():
    with worker_channel.unnamed_file(b"a patient's image") as path:
        assert path.read_bytes() == b"a patient's image"
        assert os.stat(path).st_nlink == 0
    assert not path.exists()


def test_the_worker_does_not_import_what_training_needs(worker):
    modules = worker.call(eval, "sorted(__import__('sys').modules)", limits=LIMITS)
    assert "bundle.data.readers" in modules
    assert not {"torch", "monai", "itk", "matplotlib"} & set(modules)


def test_a_folder_called_dl_in_the_working_directory_does_not_break_gdcm(tmp_path, monkeypatch):
    (tmp_path / "dl").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    worker = DecodeWorker()
    version = worker.call(eval, "__import__('gdcm').Version.GetVersion()", limits=Limits(60, 2**30))
    worker.close()
    assert version.startswith("3.")


def test_a_file_that_kills_its_decoder_is_reported_by_name_and_the_next_is_read(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "cine.dcm", FRAMES)
    with pytest.raises(UnreadableStudyError, match=r"cine\.dcm: not a readable study: its decoder crashed \(SIGABRT\)"):
        readers.run_for(path, LIMITS, os.kill, WORKER.call(os.getpid, limits=LIMITS), signal.SIGABRT)
    assert read_clip(path).num_frames == 2


def test_a_process_that_does_not_start_is_not_the_files_fault(tmp_path, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "cine.dcm", FRAMES)
    monkeypatch.setattr(worker_module, "BOOT", "raise SystemExit(3)")
    monkeypatch.setattr(readers, "WORKER", DecodeWorker())
    with pytest.raises(WorkerStartError, match=r"does not start \(exit status 3\); VFSS_DECODE_IN_PROCESS=1"):
        read_clip(path)


def test_the_switch_decodes_in_the_calling_process(tmp_path, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "cine.dcm", FRAMES)
    expected = read_clip(path).frames
    monkeypatch.setenv(IN_PROCESS_VARIABLE, "1")
    monkeypatch.setattr(WORKER, "call", lambda *_, **__: pytest.fail("the worker was asked"))
    np.testing.assert_array_equal(read_clip(path).frames, expected)


def test_it_works_in_a_data_loader_worker(tmp_path, write_dicom):
    paths = [write_dicom(tmp_path / f"{index}.dcm", FRAMES + 100 * index) for index in range(4)]
    expected = [read_clip(path).frames for path in paths]  # the caller's own worker runs while the loader forks
    loader = DataLoader(paths, batch_size=None, num_workers=2, collate_fn=read_clip, multiprocessing_context="fork")
    for clip, frames in zip(loader, expected, strict=True):
        np.testing.assert_array_equal(clip.frames, frames)
    np.testing.assert_array_equal(read_clip(paths[0]).frames, expected[0])


def test_a_forked_child_leaves_its_parents_garbage_alone():
    """FFmpeg's scaler, for one, waits for ever for threads that a child does not have."""
    tidied = []

    class Decoder:
        def __init__(self):
            self.itself = self

        def __del__(self):
            tidied.append(self)

    gc.disable()
    try:
        Decoder()
        if not (child := os.fork()):
            gc.collect()
            os._exit(len(tidied))
        assert os.waitpid(child, 0)[1] == 0
    finally:
        gc.enable()
    gc.collect()
    assert len(tidied) == 1


ORPHAN = """
import os, sys, time
from bundle.data.worker import WORKER, Limits
print(WORKER.call(os.getpid, limits=Limits(30, 2**28)), flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), 9)"], ids=["normal end", "killed"])
def test_it_ends_with_its_caller(bundle_root, end):
    environment = {**os.environ, "PYTHONPATH": str(bundle_root)}
    caller = subprocess.run(
        [sys.executable, "-c", ORPHAN.format(end=end)], capture_output=True, text=True, env=environment, check=False
    )
    pid = int(caller.stdout)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
