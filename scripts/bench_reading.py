"""Print how fast clips are read, decoding process included, against the bare decoder on the same file."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.data.benchmark_reading import measure_reading, table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="frames per file")
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--cpu", action="store_true", help="CPU time of both processes: steadier on a busy machine")
    arguments = parser.parse_args()
    print(table(measure_reading(arguments.frames, arguments.size, arguments.repeats, arguments.cpu)))


if __name__ == "__main__":
    main()
