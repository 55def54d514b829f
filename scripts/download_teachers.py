"""Download the teachers' published weights, showing license and checksum of each."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.one_line import in_words


def main() -> None:
    """Show, and download unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teachers", nargs="*", metavar="TEACHER", help="of those that --list shows; all if left out")
    parser.add_argument("--folder", type=Path, default=Path("models/teachers/published"), help="where to put them")
    parser.add_argument("--list", action="store_true", help="show sources and licenses, download nothing")
    arguments = parser.parse_args()
    from bundle.teachers.download import download_weights, select_weights

    for weights in select_weights(arguments.teachers):
        print(weights, flush=True)
        if not arguments.list:
            print(f"  saved:   {download_weights(weights, arguments.folder)}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
