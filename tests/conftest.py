"""Fixtures every test may use."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bundle_root() -> Path:
    """The repository's root, which is the bundle's root."""
    return ROOT


@pytest.fixture
def shared_dir() -> Path:
    """Real images and weights beside the project; they are not part of it and need not be there."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("real images and weights (../shared/data) are not on this machine")
    return folder
