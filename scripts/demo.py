"""The main job on synthetic data, offline: run it with `make demo`."""

import argparse
from pathlib import Path

from bundle.command.demo import format_summary, run_demo

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--output_dir", default=root / "runs" / "demo", help="folder of everything the demo makes")
    print(format_summary(run_demo(parser.parse_args().output_dir)))
