"""Download the teachers' published weights, showing licence and checksum of each."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.teachers.download import PUBLISHED, describe, download_weights

NAMES = [weights.teacher for weights in PUBLISHED]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teachers", nargs="*", metavar="TEACHER", help=f"some of {', '.join(NAMES)}; by default all")
    parser.add_argument("--folder", type=Path, default=Path("models/teachers/published"), help="where to put them")
    parser.add_argument("--list", action="store_true", help="show sources and licences, download nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.teachers) - set(NAMES):
        parser.error(f"no published weights for {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for weights in PUBLISHED:
        if weights.teacher in (arguments.teachers or NAMES):
            print(describe(weights), flush=True)
            if not arguments.list:
                print(f"  saved:   {download_weights(weights, arguments.folder)}")


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
