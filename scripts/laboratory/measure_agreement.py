"""Bland-Altman agreement of clinical measures with the synthetic phantom's truth, from true and predicted masks."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.engines.preflight import check_files, report_in_one_line
from bundle.export.model_card import load_segmenter
from bundle.laboratory.experiments.agreement import format_agreement, measure_agreement, record_errors
from bundle.paths import ROOT


def main() -> None:
    sys.excepthook = report_in_one_line
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=ROOT / "models" / "model.pt", type=Path)
    parser.add_argument("--output_dir", default=ROOT / "runs" / "agreement", type=Path)
    parser.add_argument("--patients", default=30, type=int)
    parser.add_argument("--size", default=384, type=int, help="rows and columns of the frames")
    parser.add_argument("--domain", default="standard", choices=["standard", "hard"])
    parser.add_argument("--record", action="store_true", help="put the errors into the card of the weights")
    parser.add_argument("--true_only", action="store_true", help="leave out the predicted masks and the network")
    arguments = parser.parse_args()
    check_files([arguments.checkpoint])
    segmenter = load_segmenter(arguments.checkpoint)
    network, how = None if arguments.true_only else segmenter, (arguments.patients, arguments.size, arguments.domain)
    rows = measure_agreement(network, segmenter.image_size, arguments.output_dir, *how)
    print(format_agreement(rows))
    if arguments.record:
        words = "{} synthetic swallows of {} pixels a side, {} domain of the phantom".format(*how)
        record_errors(rows, arguments.checkpoint, words)


if __name__ == "__main__":
    main()
