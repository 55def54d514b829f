"""A user's error, the system's or a library's is one line with the remedy; one in the code keeps its traceback."""

import errno
import subprocess
import sys

import pytest

from bundle.engines.sampler import SeededDataset
from bundle.one_line import REMEDIES, report_in_one_line


def shown(capsys, act) -> str:
    """What the person sees of the error that ``act`` ends with."""
    try:
        act()
    except BaseException as error:
        report_in_one_line(type(error), error, error.__traceback__)
    return capsys.readouterr().err


def raising(error: BaseException, cause: BaseException | None = None):
    def act() -> None:
        raise error from cause

    return act


def test_a_users_error_is_one_line_even_when_wrapped(capsys):
    error = FileNotFoundError("teacher weights not found:\n  x.safetensors")
    assert shown(capsys, raising(RuntimeError("Failed to instantiate"), error)) == (
        "error: teacher weights not found: x.safetensors\n"
    )


def test_a_users_error_is_one_line_even_when_a_librarys_lies_under_it(capsys):
    cause = RuntimeError("PytorchStreamReader failed")
    assert shown(capsys, raising(ValueError("model.pt is broken; fetch it again"), cause)) == (
        "error: model.pt is broken; fetch it again\n"
    )


@pytest.mark.parametrize("number", REMEDIES)
def test_an_error_of_the_system_names_the_place_and_the_remedy(capsys, number):
    error = OSError(number, "what the system says", "place")
    assert shown(capsys, raising(RuntimeError("evaluating"), error)) == (
        f"error: place: what the system says; {REMEDIES[number]}\n"
    )


def test_a_full_disk_and_a_folder_for_a_file_are_such_errors(capsys, tmp_path):
    def fill() -> None:
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    assert "make room" in shown(capsys, fill)
    assert "name the file in this folder" in shown(capsys, tmp_path.read_text)
    assert REMEDIES[errno.ENOTDIR] in shown(capsys, (tmp_path / "file").touch() or (tmp_path / "file" / "x").read_text)


def test_too_little_memory_is_said_with_the_remedy(capsys):
    assert "a smaller --batch_size" in shown(capsys, raising(MemoryError("no 8 GB")))


def test_what_this_package_raises_is_one_line_whatever_its_class(capsys):
    line = shown(capsys, lambda: SeededDataset([{}], None)[0])
    assert line.startswith("error: SeededDataset needs the indices of an EpochSampler")
    assert line.count("\n") == 1


def test_an_error_in_a_loader_process_is_its_last_line(capsys):
    text = "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  x\n"
    error = ValueError(f"{text}KeyError: 'x'\n\nDuring the handling …\n  y\nValueError: film is cut off")
    assert shown(capsys, raising(error)) == "error: film is cut off\n"


@pytest.mark.parametrize("act", [lambda: {}["key"], lambda: None + 1, lambda: b"\xff".decode()])
def test_a_programming_error_keeps_its_traceback(capsys, act):
    assert "Traceback" in shown(capsys, act)


def test_scripts_say_an_error_of_the_system_in_the_same_words(tmp_path, bundle_root):
    (tmp_path / "file").touch()
    command = [sys.executable, "scripts/make_phantom.py", "dataset", str(tmp_path / "file" / "folder")]
    done = subprocess.run(command, cwd=bundle_root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert REMEDIES[errno.EEXIST] in done.stderr
    assert "Traceback" not in done.stderr


def test_the_hook_is_fit_for_python(capsys):
    try:
        raise ValueError("wrong")
    except ValueError:
        report_in_one_line(*sys.exc_info())
    assert capsys.readouterr().err == "error: wrong\n"
