"""Run stages as a user does, each in a process of its own, and account for their time and memory."""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bundle.paths import ROOT


@dataclass(frozen=True)
class Stage:
    """One command of ``python -m monai.bundle``.

    Attributes:
        title: What it does, for the headline.
        configs: Config files below ``configs/``, the base first.
        overrides: Config keys changed on the command line, or the verb's own options.
        run_id: What to run, or the component that the verb is about.
        verb: What MONAI is to do.
    """

    title: str
    configs: Sequence[str]
    overrides: dict[str, str | int | float] = field(default_factory=dict)
    run_id: str = "training"
    verb: str = "run"

    def command(self) -> list[str]:
        """The command line, with this Python."""
        files = [str(ROOT / "configs" / name) for name in self.configs]
        command = [sys.executable, "-m", "monai.bundle", self.verb, self.run_id]
        command += ["--config_file", files[0] if len(files) == 1 else str(files)]
        command += ["--meta_file", str(ROOT / "configs" / "metadata.json")]
        if self.verb == "run":
            command += ["--bundle_root", str(ROOT), "--logging_file", str(ROOT / "configs" / "logging.conf")]
        for key, value in self.overrides.items():
            command += [f"--{key}", str(value)]
        return command


def run_stages(stages: Sequence[Stage]) -> dict[str, float]:
    """Run stages in order, showing their output.

    Returns:
        Seconds of each stage, by title.

    Raises:
        SystemExit: With the stage's own exit status when one fails; its error is already on the screen.
    """
    seconds = {}
    for number, stage in enumerate(stages, start=1):
        print(f"\n[{number}/{len(stages)}] {stage.title}", flush=True)  # noqa: T201 - this is the command line
        start = time.monotonic()
        status = subprocess.run(stage.command(), cwd=ROOT, check=False).returncode
        if status:
            raise SystemExit(status)
        seconds[stage.title] = time.monotonic() - start
    return seconds


def children_cpu_seconds() -> float:
    """Processor time of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def peak_memory_gb() -> float:
    """Largest memory of any one process that this one started and of itself, in GB."""
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kilobytes * 1024 / 1e9
