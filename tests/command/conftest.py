"""A small film."""

from pathlib import Path

import pytest

from bundle.phantom import generate_study
from bundle.phantom.writer import write_dicom


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A synthetic DICOM cine of three frames."""
    path = tmp_path / "film.dcm"
    write_dicom(generate_study(3, size=96, num_frames=3), path, patient="film")
    return path
