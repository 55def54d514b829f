"""How PyTorch's threads wait for one another: briefly spinning, then asleep, so that a busy neighbor costs little.

GNU's OpenMP (libgomp) spins for some 10 ms wherever threads meet. If another program has the core of the thread that
all wait for, those that spin keep their cores from it, and a training all but stops (``docs/benchmarks.md``).
"""

import os
import sys
import threading

SPIN_COUNT, SPIN_COUNT_TRAINING = "4000", "1000"
"""Compromises: fewer cost more alone, more cost more beside a busy process. libgomp's own is 300000.

A training's steps are long, so that it loses little alone by sleeping sooner; single frames would.
"""

TRAININGS = {"training", "train", "distill", "demo", "scripts/demo.py"}
"""Words of a command that trains, as of ``python -m monai.bundle run training`` or ``vfss train``."""

USERS_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def spin_briefly() -> None:
    """Let this process and those that it starts spin briefly, unless the environment says how they are to wait.

    libgomp reads the environment once, when PyTorch loads it. Where PyTorch came first, as in ``python -m
    monai.bundle``, another way is left, which costs single frames more of the speed that a process has alone.
    """
    if any(name in os.environ for name in USERS_SETTINGS):
        return
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT_TRAINING if TRAININGS & set(sys.orig_argv) else SPIN_COUNT
    if "torch" in sys.modules and sys.platform == "linux":
        threading.Thread(target=_hold_threads, name="holds OpenMP threads", daemon=True).start()


def _hold_threads() -> None:
    """Let libgomp have more threads than there are processors; these here only sleep.

    It then spins 100 times at most: see ``GOMP_SPINCOUNT`` in its manual. Each thread that computes has a pool of its
    own, which lives as long as the thread.
    """
    sys.modules["torch"].ones(2**20).sum()  # large enough for all processors
    threading.Event().wait()
