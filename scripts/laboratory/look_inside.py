"""Draw what teachers and student see, and where the shipped model fails: docs/laboratory/inside.md and its figures."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.studies.inside import look_inside
from bundle.one_line import in_words
from bundle.paths import ROOT


def main() -> None:
    """Distill the student unless it is there, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="full", help="of the distillation, of scales.json (full unless given)")
    parser.add_argument(
        "--output_dir", type=Path, default=ROOT / "docs" / "laboratory", help="for the page and its figures"
    )
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "model.pt", help="whose failures are shown")
    given = parser.parse_args()
    try:
        print(look_inside(given.scale, ROOT / "runs" / "inside" / given.scale, given.output_dir, given.model))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")


if __name__ == "__main__":
    main()
