"""Measure the shipped segmenter on a real film without labels, and on synthetic patients for comparison."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.one_line import in_words
from bundle.workflows.sim_to_real import Settings, measure_sim_to_real, write_page
from bundle.workflows.stages import ROOT


def main() -> None:
    """Measure and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "film", type=Path, nargs="?", help="a video or DICOM file; none: write the last report's page again"
    )
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "sim_to_real", help="report and pictures")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "models" / "model.pt")
    parser.add_argument("--points", type=Path, help="points put by hand on this film")
    parser.add_argument("--publish", action="store_true", help="also write docs/evidence/sim_to_real.md and .json")
    parser.add_argument("--faces_left", action="store_true", help="the patient looks to the left")
    parser.add_argument("--patients", type=int, default=12, help="synthetic ones of each domain (12 unless given)")
    given = parser.parse_args()
    settings = Settings(patients=given.patients, faces_right=not given.faces_left)
    try:
        if given.film is not None:
            measure_sim_to_real(given.film, given.output_dir, given.checkpoint, given.points, settings)
        print(write_page(given.output_dir, given.publish))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")


if __name__ == "__main__":
    main()
