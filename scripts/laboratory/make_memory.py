"""Make models/memory.pt, SAM 2's memory for the model that ships: run it with `make memory`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.shipped import make_shipped_memory
from bundle.paths import ROOT

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", default=ROOT / "runs" / "shipped_memory", help="folder of the training")
    card = make_shipped_memory(output_dir=parser.parse_args().output_dir)
    print(f"{card['file']}: {card['bytes']} bytes")
