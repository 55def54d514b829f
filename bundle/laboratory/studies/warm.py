"""Commands of ``python -m monai.bundle`` in processes that are forked with the libraries loaded: seconds saved each."""

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

LIBRARIES = [
    "monai.bundle",
    "monai.engines",
    "monai.handlers",
    "mlflow",
    "timm",
    "bundle.engines.handlers",
    "bundle.losses.distillation",
    "bundle.segmentation.segmenter",
    "bundle.store.dataset",
]


class WarmProcesses:
    """Runs commands in children of one process that has imported what they need and nothing else.

    Args:
        environment: Variables of all commands that libraries read when they are loaded, such as ``OMP_NUM_THREADS``;
            they are set in this process, too.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(LIBRARIES)

    def run(self, command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> tuple[int, float]:
        """Run a command to its end.

        Args:
            command: ``[python, "-m", module, arguments ...]``, with this Python.
            folder: Where it runs.
            log: Its output; replaced.
            environment: Further variables, which are read by the command itself.

        Returns:
            Its exit status, as of :mod:`subprocess`, and the processor time that it took, in seconds; 0 if it was
            killed.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        with receiver, sender:
            arguments = (list(command[2:]), folder, log, dict(environment), sender)
            process = self._context.Process(target=_main, args=arguments)
            process.start()
            process.join()
            return process.exitcode or 0, receiver.recv() if receiver.poll() else 0.0


def _main(arguments: list[str], folder: Path, log: Path, environment: dict[str, str], sender: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent says who stops, and how
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = arguments
    sys.path.insert(0, str(folder))  # as python -m does
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except Exception:
        sys.excepthook(*sys.exc_info())  # as at the end of a program
        sys.exit(1)
    finally:
        sender.send(time.process_time())


def _end_with_parent() -> None:
    """A study that was killed leaves no training behind: its next start goes on from the training's checkpoint."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
