"""What `pip install .` gives: the command, outside the repository, with configs and weights, without the laboratory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that the built wheel is installed into, without its dependencies."""
    root = Path(__file__).resolve().parents[2]
    folder = tmp_path_factory.mktemp("site")
    clone = folder / "clone"
    clone.mkdir()
    for name in ("bundle", "configs", "models", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        (clone / name).symlink_to(root / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    command = [*pip, "install", "--no-deps", "--no-build-isolation", "--target", str(folder / "packages"), str(clone)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=600)
    return folder / "packages"


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The installed command from another folder; the repository is nowhere on its path."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(installed / "bin" / "vfss"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_the_wheel_holds_configs_and_weights_and_no_laboratory(installed):
    data = installed / "bundle" / "_data"
    assert (data / "configs" / "inference.json").is_file()
    assert (data / "models" / "model.pt").is_file()
    assert (installed / "bundle" / "py.typed").is_file()
    assert not (installed / "bundle" / "laboratory").exists()
    assert not (data / "configs" / "laboratory").exists()


def test_a_film_is_segmented_outside_the_repository(installed, film, tmp_path):
    result = run(installed, tmp_path, "segment", film.name, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert "film.dcm" in result.stdout
    assert str(installed) in result.stderr  # the model is the wheel's
    (folder,) = (path for path in (tmp_path / "vfss-results").iterdir() if path.is_dir())
    written = {path.name for path in folder.iterdir()}
    assert {"masks.nii.gz", "masks.dcm", "masks", "overlay.mp4", "measures.csv", "report.html"} <= written
    assert "arning" not in result.stderr
