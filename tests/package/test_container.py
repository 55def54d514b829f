"""The recipe of the container: a linter finds nothing, it runs as nobody, the page says the same. No Docker here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundle.command.app import app

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def lines(instruction, text=TEXT):
    return re.findall(rf"^{instruction} (.+)$", text, flags=re.MULTILINE)


def test_the_linter_finds_nothing():
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: it is in the extra 'test'")
    said = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")
    worse = TEXT.replace("USER 10001\n", "").replace("RUN useradd", "RUN sudo useradd")
    said = subprocess.run([program, "-"], input=worse, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode != 0


def test_what_runs_is_nobody_and_fetches_nothing():
    last = TEXT.rpartition("\nFROM ")[2]
    assert lines("USER", last) == ["10001"]
    assert last.index("USER") < last.index("ENTRYPOINT")
    assert "pip" not in last
    assert not lines("ADD")


def test_it_is_the_python_that_the_pins_are_for():
    pins = (ROOT / "constraints.txt").read_text()
    (version,) = re.findall(r"Python (3\.\d+)", pins)
    assert {image.split()[0] for image in lines("FROM")} == {f"python:{version}-slim-bookworm"}


def test_the_page_has_the_same_commands():
    page = (ROOT / "docs" / "how-to" / "pacs.md").read_text()
    installs = [line for line in lines("RUN") if "pip install" in line]
    assert len(installs) == 2
    assert [line for line in installs if line not in page] == []
    assert "--read-only --tmpfs /tmp --network none" in page


def test_its_command_is_one_of_ours():
    (command,) = (json.loads(line) for line in lines("CMD"))
    assert json.loads(lines("ENTRYPOINT")[0]) == ["vfss"]
    shown = CliRunner().invoke(app, [command[0], "--help"]).output
    assert [word for word in command if word.startswith("--") and f"{word} " not in shown] == []


def test_what_the_build_needs_is_not_ignored():
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"}
    assert ignored.isdisjoint({"bundle", "configs", "models", "README.md", "pyproject.toml", "setup.py", "MANIFEST.in"})
    assert {"runs", ".venv*", "vfss-*"} <= ignored
