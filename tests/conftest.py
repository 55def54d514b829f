"""Fixtures every test may use, and which tests run in the same process where there are several."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow to make is made once: a file's tests stay together, and a folder's if they share a fixture."""
    for item in items:
        conftest = item.path.parent / "conftest.py"
        is_shared = conftest.is_file() and 'scope="session"' in conftest.read_text()
        group = item.path.parent if is_shared else item.path
        item.add_marker(pytest.mark.xdist_group(group.relative_to(ROOT).as_posix()))


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
