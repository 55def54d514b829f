"""Make a data set of synthetic swallowing studies: python scripts/make_phantom.py dataset FOLDER."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.one_line import in_words
from bundle.phantom import make_phantom_dataset

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    dataset = commands.add_parser("dataset", help="write cines, masks, truth and a data list")
    dataset.add_argument("root", help="folder to make")
    for name, default in (("train", 24), ("validation", 4), ("test", 4), ("hard_test", 0)):
        dataset.add_argument(f"--num_{name}", type=int, default=default, help=f"{name} patients")
    dataset.add_argument("--seed", type=int, default=0)
    dataset.add_argument("--size", type=int, default=256, help="rows and columns")
    dataset.add_argument("--num_frames", type=int, default=14, help="frames per patient")
    arguments = vars(parser.parse_args())
    del arguments["command"]
    try:
        print(make_phantom_dataset(**arguments))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
