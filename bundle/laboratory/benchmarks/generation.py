"""Speed of the generator on this machine."""

import time

from bundle.phantom.study import generate_study


def frames_per_second(size: int = 512, num_frames: int = 60, seed: int = 0) -> float:
    """Generate one study, set-up of the patient included, and return frames per second of wall time."""
    generate_study(seed, 64, 2)  # imports and caches
    start = time.perf_counter()
    generate_study(seed, size, num_frames)
    return num_frames / (time.perf_counter() - start)
