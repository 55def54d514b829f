"""Threads that wait for one another soon sleep, whoever loaded PyTorch first, unless a user says otherwise."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bundle import spinning

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")

SPUN_BEFORE_AND_AFTER = """
import time, torch
values = torch.zeros(2**17)  # large enough for two threads

def spun():
    start = time.process_time()
    for _ in range(20):
        values.add_(1)
        time.sleep(0.05)  # meanwhile the other threads wait for work
    return time.process_time() - start

values.add_(1)
before = spun()
import bundle
time.sleep(1)
print(before, spun())
"""
"""Processor time of the same work with and without the bundle, in a process that had loaded PyTorch before."""


@pytest.fixture
def environment(monkeypatch):
    """Without what a user may have set."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def python(code: str) -> str:
    """What a new Python prints for which neither a user nor the environment's start-up line has set anything."""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", f"import os; os.environ.pop('GOMP_SPINCOUNT', None)\n{code}"]
    result = subprocess.run(command, env=clean | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_whoever_imports_the_bundle_first_has_the_setting_and_so_have_the_processes_that_it_starts():
    started = "import bundle, os; os.system('echo $GOMP_SPINCOUNT')"
    assert python(started) == spinning.SPIN_COUNT


@pytest.mark.parametrize("name", spinning.USERS_SETTINGS)
def test_what_a_user_has_set_stays(environment, name):
    environment.setenv(name, "as the user wants it")
    before = dict(os.environ)
    number = threading.active_count()
    spinning.spin_briefly()
    assert dict(os.environ) == before
    assert threading.active_count() == number


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_a_process_that_had_loaded_pytorch_before_the_bundle_no_longer_spins():
    """As ``python -m monai.bundle`` has."""
    before, after = map(float, python(SPUN_BEFORE_AND_AFTER).split())
    assert after < before / 5


@pytest.fixture(scope="module")
def set_up_python(tmp_path_factory) -> Path:
    """Python of an empty environment, after the lines of the set-up that are about spinning."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    script = (ROOT / "scripts" / "setup_environment.sh").read_text()
    lines = re.search(r"^START_UP=.*?\"\$START_UP\"$", script, flags=re.MULTILINE | re.DOTALL)[0]
    subprocess.run(["bash", "-euc", lines], env={**os.environ, "VENV": str(folder)}, check=True)
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    ("words", "given", "seen"),
    [
        (["run", "run"], {}, spinning.SPIN_COUNT),
        *((["run", word], {}, spinning.SPIN_COUNT_TRAINING) for word in sorted(spinning.TRAININGS)),
        (["run", "training"], {"GOMP_SPINCOUNT": "7"}, "7"),
        (["run", "training"], {"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_the_environment_that_set_up_makes_has_the_same_setting_from_the_start(
    set_up_python, environment, words, given, seen
):
    code = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [set_up_python, "-c", code, *words]
    assert subprocess.run(command, env=dict(os.environ) | given, capture_output=True, text=True).stdout.strip() == seen


@pytest.mark.parametrize("word", sorted(spinning.TRAININGS))
def test_a_training_sleeps_sooner(environment, word):
    environment.setattr(sys, "orig_argv", ["python", "-m", "monai.bundle", "run", word])
    environment.delitem(sys.modules, "torch")
    spinning.spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == spinning.SPIN_COUNT_TRAINING
