"""Parts, flicker, Dice and HD95 of masks before and after they are held together, on synthetic swallows and films."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.engines.preflight import report_in_one_line
from bundle.export.model_card import load_segmenter
from bundle.laboratory.experiments.parts import format_parts, measure_parts
from bundle.paths import ROOT


def main() -> None:
    sys.excepthook = report_in_one_line
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="*", type=Path, help="real films, of which no truth is known")
    parser.add_argument("--checkpoint", default=ROOT / "models" / "model.pt", type=Path)
    parser.add_argument("--output_dir", default=ROOT / "runs" / "parts", type=Path)
    parser.add_argument("--patients", default=6, type=int, help="synthetic swallows of each domain")
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.checkpoint)
    print(format_parts(measure_parts(segmenter, arguments.output_dir, arguments.patients, arguments.films)))


if __name__ == "__main__":
    main()
