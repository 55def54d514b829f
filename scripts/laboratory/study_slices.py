"""Slice-wise students on real CT sub-volumes, scored on unseen patients.

Run: python scripts/laboratory/study_slices.py FOLDER
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.studies.slices_page import study_slices
from bundle.one_line import in_words
from bundle.paths import ROOT

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="CT_Lesion_*.npz, see docs/reference/datalist.md")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the trainings (0 1 2 unless given)")
    parser.add_argument("--work_dir", default=ROOT / "runs" / "slices", help="for trainings; what is done is kept")
    parser.add_argument("--output_dir", default=ROOT / "docs" / "laboratory", help="for slices.md and its JSON files")
    parser.add_argument(
        "--without_labels", nargs="+", default=[], help="folders of distillations from LiteMedSAM: score these alone"
    )
    try:
        print(study_slices(**vars(parser.parse_args())))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
