"""Run the evidence studies: `make study` (a check that all works) and `make study-full` (hours, resumable)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.studies.definition import study_names
from bundle.laboratory.studies.report import run_studies
from bundle.one_line import in_words
from bundle.paths import ROOT


def main() -> None:
    """Run some studies, or all, and write their tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", help=f"to run, of {', '.join(study_names())}; all unless given")
    parser.add_argument("--scale", default="small", help="of scales.json (small unless given)")
    parser.add_argument("--output_dir", type=Path, help="for results and tables (runs/study_<scale> unless given)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time (1 unless given)")
    parser.add_argument("--tables_only", action="store_true", help="run nothing, write the report")
    parser.add_argument(
        "--public_sets", type=Path, nargs=2, metavar=("CHEST_XRAYS", "CT_LESIONS"), help="see modalities"
    )
    given = parser.parse_args()
    folder = ROOT / "runs" / f"study_{given.scale}"
    names, target = given.studies or study_names(), given.output_dir or folder
    try:
        sets = tuple(given.public_sets) if given.public_sets else None
        print(run_studies(names, given.scale, folder, target, given.jobs, given.tables_only, sets))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {in_words(error)}")


if __name__ == "__main__":
    main()
