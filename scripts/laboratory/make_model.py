"""Make models/model.pt, the segmenter that ships: run it with `make model`, after `make demo`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.shipped import START, make_shipped_model
from bundle.one_line import in_words

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", default=START, help="weights to go on from (the demo's unless given)")
    parser.add_argument("--only_fine", action="store_true", help="go on at 512 x 512, for weights that shipped before")
    given = parser.parse_args()
    try:
        card = make_shipped_model(given.start, only_fine=given.only_fine)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
    standard, hard = (card[name]["mean_dice"] for name in ("held_out", "held_out_hard"))
    print(f"{card['file']}: mean Dice {standard:.3f} on held-out synthetic patients, {hard:.3f} on hard ones")
