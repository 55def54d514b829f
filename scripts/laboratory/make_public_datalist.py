"""Data list of a public set of real images: python scripts/laboratory/make_public_datalist.py ct_lesions FOLDER ROOT"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.data.datalist import check_datalist, read_datalist
from bundle.laboratory.public_sets.ct_lesions import make_ct_lesion_datalist
from bundle.laboratory.public_sets.radiographs import make_chest_xray_datalist, make_jsrt_datalist
from bundle.one_line import in_words

BUILDERS = {
    "chest_xrays": make_chest_xray_datalist,
    "ct_lesions": make_ct_lesion_datalist,
    "jsrt": make_jsrt_datalist,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=BUILDERS, help="what the folder holds, see docs/reference/datalist.md")
    parser.add_argument("folder", help="the set's files")
    parser.add_argument("root", help="folder for datalist.json, and for the CT slices as NIfTI")
    parser.add_argument("--fractions", nargs=3, type=float, default=[0.6, 0.2, 0.2], help="training validation test")
    parser.add_argument("--seed", type=int, default=0, help="of the draw that splits the patients")
    arguments = vars(parser.parse_args())
    try:
        path = BUILDERS[arguments.pop("set")](**arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
    sections = [name for name in ("training", "validation", "test") if name in read_datalist(path)]
    print(path, *check_datalist(path, None, sections).items(), sep="\n")
