"""Print speed and memory of phase 1's training step with every engine option on and off."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.metrics.atomic import write_json
from bundle.workflows.benchmark_training import Setting, format_training, measure_training


def main() -> None:
    """Measure and print, backbone by backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["efficientvit_b0"], help="timm names")
    parser.add_argument("--options", nargs="+", help="some of the options; all unless given")
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--batch", type=int, default=4, help="frames per step, a multiple of 4")
    parser.add_argument("--rounds", type=int, default=5, help="times that every option has its turn")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time: steadier on a busy machine")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    settings = [Setting(backbone, given.size, given.batch, given.device) for backbone in given.backbones]
    reports = [
        measure_training(setting, given.options, given.rounds, is_cpu_time=given.cpu_time) for setting in settings
    ]
    print("\n\n".join(format_training(report) for report in reports))
    if given.json:
        write_json(given.json, {"training_step": reports})


if __name__ == "__main__":
    main()
