"""Fixtures every test may use, and which tests run in the same process where there are several."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True)  # there is pytest-xdist only where tests run in several processes
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What is slow to make is made once: a file's tests stay together, and a folder's if they share a fixture.

    pytest-xdist's own ``loadgroup`` has no effect with pytest 9.2, whose items take no other id.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid.partition("::")[0])

    return Together(config, log)


@cache
def together(file: str) -> str:
    """The file, or its folder, whose tests run in one process."""
    conftest = (ROOT / file).parent / "conftest.py"
    is_shared = conftest.is_file() and 'scope="session"' in conftest.read_text()
    return Path(file).parent.as_posix() if is_shared else file


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """A test that asks for fewer threads leaves the next ones theirs: trainings are equal with equal threads only."""
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


@pytest.fixture
def bundle_root() -> Path:
    """The repository's root, which is the bundle's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real images and weights beside the project; they are not part of it and need not be there."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("real images and weights (../shared/data) are not on this machine")
    return folder
