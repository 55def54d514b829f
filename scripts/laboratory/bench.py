"""Measure speed and memory on this machine, and write them to docs/benchmarks.json and docs/benchmarks.md."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.benchmarks.sections import SECTIONS, run_benchmarks
from bundle.one_line import in_words


def main() -> None:
    """Measure some sections, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"some of {', '.join(SECTIONS)}; all unless given")
    given = parser.parse_args()
    try:
        run_benchmarks(given.sections or list(SECTIONS))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")


if __name__ == "__main__":
    main()
