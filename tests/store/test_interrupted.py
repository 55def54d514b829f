"""A killed run and a full disk lose nothing, and the next run ends with what an uninterrupted one gives."""

import multiprocessing
import os
import random
import signal
import subprocess
import time
import traceback
from pathlib import Path

import pytest
import torch

from bundle.laboratory.trials.store_contents import contents, unfinished
from bundle.store.shard import StoreError


def fill_in_a_process(stage, seconds: float | None = None) -> float:
    """Fill the store in a process of its own, which is killed after ``seconds``; returns how long it took."""
    start = time.monotonic()
    log = stage.folder.with_suffix(".log")
    process = multiprocessing.get_context("fork").Process(target=_fill, args=(stage, log))
    process.start()
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    elif process.exitcode:
        raise RuntimeError(f"the stage ended with {process.exitcode}: {log.read_text() if log.is_file() else ''}")
    return time.monotonic() - start


def _fill(stage, log: Path) -> None:
    torch.set_num_threads(1)
    try:
        stage.fill()
    except Exception:
        log.write_text(traceback.format_exc())
        raise


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_run_killed_twice_at_random_moments_gives_the_same_bits(stage, precision):
    stage.options["precision"] = precision
    final = stage.folder
    stage.folder = final.with_name("reference")
    seconds = fill_in_a_process(stage)
    expected = contents(stage.folder)
    assert len(expected) > 3 * 35
    stage.folder = final
    moments = random.Random(precision)
    for _ in range(2):
        fill_in_a_process(stage, moments.uniform(0, seconds))
    left = contents(stage.folder)  # nothing half written is taken for an entry
    assert left.items() <= expected.items()
    fill_in_a_process(stage)
    assert contents(stage.folder) == expected
    assert not unfinished(stage.folder)


def test_a_run_killed_while_it_marks_its_folder_is_gone_on_with(stage, monkeypatch):
    def die(*_):
        os._exit(9)

    with monkeypatch.context() as patch:
        patch.setattr("bundle.store.unfinished.to_disk", die)  # the first file on the way to the disk is the marker
        with pytest.raises(RuntimeError, match="ended with 9"):
            fill_in_a_process(stage)
    assert [path.name for path in stage.folder.iterdir() if path.suffix == ".json"] == []
    assert unfinished(stage.folder)
    fill_in_a_process(stage)
    assert not unfinished(stage.folder)
    assert (stage.folder / "store.json").is_file()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_error_and_what_is_stored_stays(stage, small_disk: Path, monkeypatch):
    stage.fill()
    expected = contents(stage.folder)
    stage.folder = small_disk / "store"
    with pytest.raises(StoreError, match=r"needs 0\.00 GiB more, its disk has 0\.00 GiB free"):
        stage.fill()
    monkeypatch.setattr("bundle.store.fill.check_disk", lambda folder, num_bytes: None)  # as if others wrote, too
    with pytest.raises(StoreError, match=r"cannot write .*No space left on device.*before is kept: free some space"):
        stage.fill()
    left = contents(stage.folder)
    assert 0 < len(left) < len(expected)
    assert left.items() <= expected.items()
    assert not unfinished(stage.folder)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    stage.fill()
    assert contents(stage.folder) == expected
