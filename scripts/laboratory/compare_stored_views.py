"""Train the student from live teachers and from stored features, and print the validation of each."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.experiments.stored_views import compare_stored_views, format_stored_views


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", type=Path, help="a new folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of weights and order; one run each")
    arguments = parser.parse_args()
    print(format_stored_views(compare_stored_views(arguments.output_dir, tuple(arguments.seeds))))


if __name__ == "__main__":
    main()
