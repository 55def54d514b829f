"""A real MLflow server on this machine's loopback address."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from typing import NamedTuple

import pytest


class Server(NamedTuple):
    """A running server, in a process group of its own."""

    address: str
    pid: int


@pytest.fixture(scope="module")
def mlflow_server(mlflow_process) -> str:
    """Address of a running ``mlflow server``; stopped after the module's tests."""
    return mlflow_process.address


@pytest.fixture(scope="module")
def mlflow_process(tmp_path_factory):
    """A running ``mlflow server``; stopped after the module's tests."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_healthy(address, server, folder / "server.log")
            yield Server(address, server.pid)
        finally:
            with suppress(ProcessLookupError):  # a test has ended it
                os.killpg(server.pid, 15)
            server.wait(timeout=30)


def wait_until_healthy(address: str, server: subprocess.Popen, log, seconds: int = 120) -> None:
    """Return when the server answers; raise with its log when it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"mlflow server did not start: {log.read_text()[-2000:]}")
