"""Two processes on this machine, started as a person starts them: by torchrun, on the loopback address."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Torchrun = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def torchrun() -> Torchrun:
    """Run a command line in two processes, without a GPU; the first free port is taken."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(
            [*launcher, "--nproc_per_node=2", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run
