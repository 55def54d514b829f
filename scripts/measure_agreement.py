"""Bland-Altman agreement of clinical measures with the synthetic phantom's truth, from true and predicted masks."""

import argparse
import sys
from pathlib import Path

import torch
from monai.bundle import ConfigParser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.workflows.agreement import format_agreement, measure_agreement
from bundle.workflows.stages import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=ROOT / "runs" / "demo" / "train" / "model.pt", type=Path)
    parser.add_argument("--output_dir", default=ROOT / "runs" / "agreement", type=Path)
    parser.add_argument("--patients", default=30, type=int)
    arguments = parser.parse_args()
    if not arguments.checkpoint.is_file():
        parser.error(f"no such checkpoint: {arguments.checkpoint}: run `make demo` first, or give --checkpoint")
    config = ConfigParser()
    config.read_config(ROOT / "configs" / "inference.json")
    config["bundle_root"] = str(ROOT)
    config["checkpoint"] = str(arguments.checkpoint)
    network = config.get_parsed_content("network")
    with torch.inference_mode():
        rows = measure_agreement(
            network.eval(), config.get_parsed_content("image_size"), arguments.output_dir, arguments.patients
        )
    print(format_agreement(rows))


if __name__ == "__main__":
    main()
