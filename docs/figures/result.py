"""Draw `result.png` on synthetic patients that no training has seen, and take `features.png` from the demo's phase 1.

Run `make demo` first; then: python docs/figures/result.py
"""

import shutil
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from bundle.engines.pictures import draw_examples
from bundle.phantom import generate_study
from bundle.structures import STRUCTURES

FIGURES = Path(__file__).resolve().parent
ROOT = FIGURES.parents[1]
DEMO = ROOT / "runs" / "demo"
SEEDS = (987_654_331, 987_654_332, 987_654_333)
SIZE, NUM_FRAMES, FRAME = 512, 12, 5


@torch.no_grad()
def draw_result() -> None:
    """Frames, labels and predictions of the shipped model, side by side."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    parser.read_meta(str(ROOT / "configs" / "metadata.json"))
    parser["bundle_root"] = str(ROOT)
    segmenter = parser.get_parsed_content("network")
    examples = []
    for seed in SEEDS:
        study = generate_study(seed, size=SIZE, num_frames=NUM_FRAMES)
        logits = segmenter(torch.from_numpy(study.frames[FRAME][None]))[0].numpy()
        examples.append((study.frames[FRAME, 0], study.masks[FRAME] > 0, logits))
    figure = draw_examples(examples, STRUCTURES)
    figure.savefig(FIGURES / "result.png", dpi=100, bbox_inches="tight", facecolor="black")


if __name__ == "__main__":
    draw_result()
    shutil.copy(max((DEMO / "distill" / "pictures").glob("features_*.png")), FIGURES / "features.png")
