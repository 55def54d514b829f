"""Commands in forked processes: their output, their status, and their end."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from bundle.laboratory.studies.stage_runner import WarmProcesses

ROOT = Path(__file__).resolve().parents[3]

PARENT = """
import sys
from pathlib import Path
from bundle.laboratory.studies.stage_runner import WarmProcesses

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    WarmProcesses({}).run([sys.executable, "-m", "sleeper"], folder, folder / "log.txt", {})
"""
SLEEPER = """
import os, pathlib, time

if __name__ == "__main__":
    pathlib.Path("pid.txt.part").write_text(str(os.getpid()))
    os.replace("pid.txt.part", "pid.txt")
    time.sleep(300)
"""


def wait_until(is_true, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_true():
        time.sleep(0.1)
    return is_true()


def test_a_command_ends_with_the_study_that_started_it(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    parent = subprocess.Popen([sys.executable, "parent.py", str(tmp_path)], cwd=tmp_path, env=environment)
    try:
        assert wait_until((tmp_path / "pid.txt").is_file, 120)
        child = psutil.Process(int((tmp_path / "pid.txt").read_text()))
        parent.kill()
        parent.wait(30)
        assert wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 30)
    finally:
        parent.kill()


def test_output_and_status_are_those_of_the_command(tmp_path):
    (tmp_path / "speaker.py").write_text("import sys\nprint('said')\nsys.exit(3)\n")
    command = [sys.executable, "-m", "speaker"]
    status, _ = WarmProcesses({}).run(command, tmp_path, tmp_path / "log.txt", {})
    assert status == 3
    assert (tmp_path / "log.txt").read_text().endswith("said\n")
