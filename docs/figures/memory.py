"""Draw ``memory.png``: memory while a long film is segmented and its results are written.

Run from the repository's root, after ``python scripts/laboratory/bench.py streaming``, which measures and writes
``docs/figures/memory.json``: ``python docs/figures/memory.py``.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FIGURES = Path(__file__).resolve().parent
# Okabe-Ito: told apart by the color-blind, and by dash in print
NOW, PEAK = ("#0072B2", "-"), ("#D55E00", "--")


def main(curve_path: Path = FIGURES / "memory.json", figure_path: Path = FIGURES / "memory.png") -> None:
    """Read the benchmark's samples and draw them over time."""
    curve = json.loads(curve_path.read_text(encoding="utf-8"))
    samples = curve["samples"]
    minutes = [sample["seconds"] / 60 for sample in samples]
    figure, axes = plt.subplots(figsize=(8, 3.6), constrained_layout=True)
    for key, label, (color, dash) in (("resident_mb", "now", NOW), ("peak_mb", "highest so far", PEAK)):
        axes.plot(minutes, [sample[key] for sample in samples], dash, color=color, label=label, marker=".")
    ends = {sample["stage"]: minute for sample, minute in zip(samples, minutes, strict=True)}
    start = 0.0
    for stage, end in ends.items():
        axes.axvline(end, color="0.8", linewidth=0.8, zorder=0)
        high = 16 if end - start < 0.03 * minutes[-1] else 4  # names of short stages are above those of long ones
        axes.annotate(
            stage, ((start + end) / 2, 0), xytext=(0, high), textcoords="offset points", ha="center", fontsize=8
        )
        start = end
    axes.set(
        title=f"{curve['num_frames']} synthetic frames of {curve['size']} x {curve['size']}",
        xlabel="minutes since the start",
        ylabel="resident memory, MiB\n(with the decoding process)",
        ylim=(0, 1.2 * max(sample["peak_mb"] for sample in samples)),
    )
    axes.legend(loc="center right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(figure_path, dpi=150)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
