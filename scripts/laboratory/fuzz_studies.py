"""Read damaged files of every kind and report what breaks a rule.

Run: python scripts/laboratory/fuzz_studies.py --count 2000
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.trials.damaged_folder import segment_damaged_files
from bundle.laboratory.trials.fuzz import ReadingLimits, fuzz

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="number of damaged files")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--keep", type=Path, help="folder for the files that broke a rule")
    parser.add_argument("--kinds", nargs="+", help="names as in the table; all if left out")
    parser.add_argument("--seconds", type=float, default=ReadingLimits.seconds, help="limit for one file")
    parser.add_argument("--megabytes", type=float, default=ReadingLimits.num_megabytes, help="limit of resident memory")
    parser.add_argument("--folder", type=Path, help="segment the damaged files in this new folder, as inference does")
    arguments = parser.parse_args()
    if arguments.folder:
        studies, wrong = segment_damaged_files(arguments.count, arguments.seed, arguments.folder)
        sys.exit("\n".join([*wrong, f"{len(studies)} studies, {len(wrong)} faults"]) if wrong else 0)
    limits = ReadingLimits(arguments.seconds, arguments.megabytes)
    report = fuzz(arguments.count, arguments.seed, arguments.keep, limits, arguments.kinds)
    print(report.in_words())
    sys.exit(1 if report.broken else 0)
