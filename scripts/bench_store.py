"""Print what the feature store costs: storage libraries side by side, size and memory, precision."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.store.benchmark import PARTS, run

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"some of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "bench_store", help="on the disk to measure")
    parser.add_argument("--entries", type=int, default=256, help="for the formats, of 3 MB each, in five copies")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 50_000], help="for the scale")
    arguments = parser.parse_args()
    for part in arguments.parts:
        print(
            f"{part}\n{run(part, arguments.folder, ROOT / 'models' / 'teachers', arguments.entries, arguments.sizes)}"
        )


if __name__ == "__main__":
    main()
