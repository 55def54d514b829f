"""Ending a run from outside, between two steps: by a signal, as clusters send it, or by a file."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What Slurm and Kubernetes send some time before they end a job."""
EXIT_STATUS = 75
"""Of a run that was asked to stop: EX_TEMPFAIL of ``sysexits.h``, "try again later"."""


class StopRequest:
    """Whether this process has got SIGTERM or SIGUSR1, or a stop file has appeared.

    A second signal has its usual effect: it ends the process at once.

    Args:
        file: The stop file; it need not be there, and its content does not matter.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self._signal: int | None = None
        self._replaced: dict[int, object] = {}

    def listen(self) -> None:
        """Take the signals over; Python allows it in the main thread only, elsewhere just the file counts."""
        self._signal = None
        if threading.current_thread() is threading.main_thread() and not self._replaced:
            self._replaced = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._replaced.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._replaced = {}

    def reason(self) -> str | None:
        """Why to stop, in a few words; None if there is no reason."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        return f"stop file {self.file}" if self.file.exists() else None

    def done(self) -> None:
        """The request is met: the stop file goes, so that the next run does not stop at once."""
        self._signal = None
        self.file.unlink(missing_ok=True)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is not None:
            self.restore()
            signal.raise_signal(number)
        self._signal = number


def outlive_stop_signals(_worker_id: int) -> None:
    """A data loader's ``worker_init_fn``: workers stay until their trainer ends them, though Slurm signals them too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != os.getppid():
        pass
    os._exit(0)
