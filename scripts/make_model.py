"""Make models/model.pt, the segmenter that ships: run it with `make model`, after `make demo`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.workflows.shipped_model import make_shipped_model

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    card = make_shipped_model()
    print(f"{card['file']}: mean Dice {card['held_out']['mean_dice']:.3f} on held-out synthetic patients")
