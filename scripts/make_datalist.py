"""Write a data list for a folder of clips and masks: python scripts/make_datalist.py FOLDER --structures hyoid c2 …"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.data.datalist import SECTIONS, check_datalist, read_datalist
from bundle.data.make_datalist import FIRST_PART_OF_THE_NAME, make_datalist
from bundle.one_line import in_words
from bundle.structures import STRUCTURES

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder of clips")
    parser.add_argument("--structures", nargs="+", default=list(STRUCTURES), help="in the order of channels or values")
    parser.add_argument("--output", help="the JSON (default: datalist.json in the folder)")
    parser.add_argument("--images", help="glob pattern of the clips (default: all DICOM and video files)")
    parser.add_argument("--labels", default="{stem}_masks", help="a clip's masks, seen from it; '' for none")
    parser.add_argument("--patient_pattern", default=FIRST_PART_OF_THE_NAME, help="regular expression for the patient")
    parser.add_argument("--fractions", nargs=3, type=float, default=[0.6, 0.2, 0.2], help="training validation test")
    parser.add_argument("--seed", type=int, default=0)
    arguments = vars(parser.parse_args())
    try:
        path = make_datalist(**arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
    sections = [section for section in SECTIONS if section in read_datalist(path)]
    print(path, *check_datalist(path, None, sections).items(), sep="\n")
