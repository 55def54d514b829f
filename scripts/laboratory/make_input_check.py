"""Make models/model_input.safetensors, what the input check compares pictures with, and the page that measures it.

Run: python scripts/laboratory/make_input_check.py ../shared/data
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.experiments.input_check_page import make_input_check
from bundle.one_line import in_words
from bundle.paths import ROOT

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder with cxr_lungs, jsrt, ct_lesions, dicom_real, vfss_real")
    parser.add_argument("--checkpoint", default=ROOT / "models" / "model.pt", type=Path)
    parser.add_argument("--output_dir", default=ROOT / "docs" / "laboratory", type=Path, help="for the page")
    parser.add_argument("--patients", default=100, type=int, help="of each domain, to fit and to measure with")
    parser.add_argument("--every", default=1, type=int, help="take one of so many pictures of the large sets")
    try:
        print(make_input_check(**vars(parser.parse_args())))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
