"""The demo's model beside MONAI's U-Net and the same student without distillation, at equal time: `make baseline`."""

import argparse
from pathlib import Path

from bundle.laboratory.experiments.baseline import format_baselines, run_baselines

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--output_dir", default=root / "runs" / "demo", help="the demo's folder")
    print(format_baselines(run_baselines(parser.parse_args().output_dir)))
