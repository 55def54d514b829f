"""One run per folder, and none that a killed one holds up."""

import subprocess
import sys
from multiprocessing import get_context

import pytest

from bundle.engines.folder_lock import hold_folder

HOLD = """
import sys, time
from bundle.engines.folder_lock import hold_folder
hold_folder(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path, bundle_root):
    """Another process that runs in the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=bundle_root)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_which_another_process_runs_is_refused_until_that_is_killed(other, tmp_path):
    with pytest.raises(ValueError, match="is in use by another run: wait for its end, or name another output_dir"):
        hold_folder(tmp_path / "run")
    other.kill()
    other.wait()
    hold_folder(tmp_path / "run")


def test_one_process_may_run_in_a_folder_again(tmp_path):
    hold_folder(tmp_path)
    hold_folder(tmp_path)


def test_a_child_that_outlives_its_trainer_holds_nothing_up(tmp_path):
    """A loader process is forked from its trainer, with all of its open files."""
    hold_folder(tmp_path)
    child = get_context("fork").Process(target=try_to_hold, args=(tmp_path,))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 3  # the lock is its parent's alone


def try_to_hold(folder) -> None:
    from bundle.engines import folder_lock

    folder_lock._held.clear()
    try:
        hold_folder(folder)
    except ValueError:
        sys.exit(3)


def test_a_folder_that_cannot_be_written_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match=r"output_dir .*file cannot be written \(.*\): name another output_dir, or get"
    ):
        hold_folder(tmp_path / "file")
