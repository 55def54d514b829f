"""What real teachers and a student make of real films, in numbers: feature space and CKA. No film is shown."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.studies.inside_films import look_inside_films
from bundle.one_line import in_words
from bundle.paths import ROOT


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datalist", help="films with masks")
    parser.add_argument("after", help="student.pt of phase 1")
    parser.add_argument("--before", help="another student of this backbone (random weights unless given)")
    parser.add_argument("--config", default=ROOT / "configs" / "real_teachers.json", help="has the teachers")
    parser.add_argument("--output_dir", default=ROOT / "docs" / "laboratory", help="for the page and its figures")
    given = parser.parse_args()
    try:
        print(look_inside_films(given.datalist, given.config, given.after, given.output_dir, given.before))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")


if __name__ == "__main__":
    main()
