"""Jobs that need each other, a few at a time, in the order of their importance; they can be stopped between two."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass


class Stopped(Exception):  # noqa: N818 - not an error: what was stopped goes on another time
    """A job was asked to stop before its end."""


@dataclass(frozen=True)
class Job:
    """One thing to do.

    Attributes:
        do: Does it; called in a thread.
        needs: Names of jobs that must be done before; names that are unknown are of jobs done long ago.
    """

    do: Callable[[], None]
    needs: Sequence[str] = ()


def run_jobs(
    jobs: Mapping[str, Job],
    workers: int,
    is_stopped: Callable[[], bool] = lambda: False,
    on_stop: Callable[[], None] = lambda: None,
    report: Callable[[str], None] = print,
) -> dict[str, str]:
    """Do jobs: always the first one, in the order given, whose needs are met.

    Args:
        jobs: By name, the most important first.
        workers: Jobs at the same time.
        is_stopped: Asked every second; then no job is started any more, and ``on_stop`` is called once.
        on_stop: Tells running jobs; those that can raise :class:`Stopped`.
        report: Gets a line for every job that has ended.

    Returns:
        What failed: by name, why. A job that needs one that failed is not done, and is not among them.
    """
    waiting, running, done = dict(jobs), dict[Future[None], str](), set[str]()
    failed: dict[str, str] = {}
    start, is_told = time.monotonic(), False
    with ThreadPoolExecutor(workers) as pool:
        while waiting or running:
            if is_stopped() and not is_told:
                waiting, is_told = {}, True
                on_stop()
            for name, job in list(waiting.items()):
                if len(running) < workers and all(need in done or need not in jobs for need in job.needs):
                    running[pool.submit(waiting.pop(name).do)] = name
            if not running:
                break
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                name, error = running.pop(future), future.exception()
                if error is None:
                    done.add(name)
                elif not isinstance(error, Stopped):
                    failed[name] = str(error)
                words = "done" if error is None else "stopped" if isinstance(error, Stopped) else f"FAILED: {error}"
                minutes = (time.monotonic() - start) / 60
                report(f"[{len(done)}/{len(jobs)}, {minutes:.1f} min] {name}: {words}")
    return failed
