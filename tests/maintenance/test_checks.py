"""The project's own checks: each passes on the code as it is meant, and fails when it should."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

FUNCTION = '''
def crop(clip, {name}):
    """Cut.

    Args:
        clip: Frames.

            Two paragraphs: both indented.
        rows: Height.
    """
'''
CLASS = '''
class Crop:
    """Cut.

    {section}:
        rows: Height.
    """

    def __init__(self, rows{more}):
        self.rows = rows
'''


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "maintenance" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "gone"),
    [
        (FUNCTION.format(name="rows"), []),
        (FUNCTION.format(name="columns"), ["columns", "rows"]),
        ('def crop(clip):\n    """Cut.\n\n    Raises:\n        ValueError: If empty.\n    """\n', []),
        ('def crop(*sizes):\n    """Cut.\n\n    Args:\n        sizes: Of each.\n    """\n', []),
        (CLASS.format(section="Args", more=""), []),
        (CLASS.format(section="Args", more=", columns"), ["columns"]),
        (CLASS.format(section="Attributes", more=", columns"), []),
    ],
)
def test_an_args_section_that_left_the_signature_behind_is_noticed(tmp_path: Path, source: str, gone: list[str]):
    path = tmp_path / "crop.py"
    path.write_text(source)
    found = "\n".join(load("check_docstrings").mismatches(path))
    assert bool(found) == bool(gone)
    assert [name for name in gone if name not in found] == []


def test_pydoclint_that_does_not_run_is_no_success():
    with pytest.raises(RuntimeError, match="did not run"):
        load("check_docstrings").mismatches("no/such/folder")


def test_a_public_name_with_two_meanings_is_noticed(tmp_path: Path):
    (tmp_path / "readers.py").write_text("class Frame: ...\ndef _plain(): ...\ndef only_here(): ...\n")
    (tmp_path / "tables.py").write_text("class Frame: ...\ndef _plain(): ...\n")
    check = load("check_names").repeated_names
    assert check(tmp_path) == {"Frame": ["readers.py:1", "tables.py:1"]}


@pytest.mark.parametrize(
    "source",
    [
        "import bundle.losses",
        "from bundle import losses",
        "from .. import losses",
        "def f():\n    import bundle.losses",
    ],
)
def test_an_import_from_a_later_stage_is_noticed_in_every_spelling(tmp_path: Path, source: str):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "bundle", tmp_path / "bundle", ignore=shutil.ignore_patterns("__pycache__", "*.js", "*.css"))
    (tmp_path / "bundle" / "data" / "added.py").write_text(f'"""Added."""\n\n{source}\n')
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "bundle.data.added -> bundle.losses" in done.stdout


def test_a_word_in_british_spelling_is_noticed(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("A greyscale film in color.\n")
    done = subprocess.run([sys.executable, "-m", "codespell_lib", page], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "greyscale ==> grayscale" in done.stdout
    page.write_text("A grayscale film in color, distilled.\n")
    assert subprocess.run([sys.executable, "-m", "codespell_lib", page], cwd=ROOT, check=False).returncode == 0
