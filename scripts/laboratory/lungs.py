"""Real chest X-rays, real teachers.

Run: python scripts/laboratory/lungs.py FOLDER, where FOLDER has images/*.png and masks/*.png
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.experiments.lungs import format_lungs, run_lung_baselines, run_lungs
from bundle.one_line import in_words
from bundle.paths import ROOT

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", help="folder with images/ and masks/, PNG files of the same names")
    parser.add_argument("--output_dir", default=ROOT / "runs" / "lungs", help="folder of everything that is made")
    parser.add_argument("--lite_medsam_checkpoint", help="lite_medsam.pth (default: from the package)")
    parser.add_argument("--efficientnet_lite0_checkpoint", help="its .pth (default: from the package)")
    parser.add_argument("--skip_baselines", action="store_true", help="a later call without it adds them")
    arguments = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    skip_baselines = arguments.pop("skip_baselines")
    try:
        report = run_lungs(**arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
    print(format_lungs(report))
    if not skip_baselines:
        print(format_lungs(run_lung_baselines(arguments["output_dir"])))
