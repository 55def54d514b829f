"""Draw `swallow.gif`: a synthetic swallow that no training has seen, and the shipped model's masks on it.

Run: python docs/figures/swallow.py
"""

from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from torch.nn.functional import interpolate

from bundle.phantom import generate_study
from bundle.structures import COLORS, STRUCTURES

FIGURES = Path(__file__).resolve().parent
ROOT = FIGURES.parents[1]
SEED, SIZE, NUM_FRAMES = 987_654_331, 512, 60
SHOWN_SIZE, FRAME_MS, OPACITY = 320, 120, 0.5
GRAYS, TINTS = np.linspace(0, 1, 48), np.linspace(0, 1, 14)


def load_shipped_model() -> torch.nn.Module:
    """The network of `configs/inference.json` with the weights that ship."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    parser.read_meta(str(ROOT / "configs" / "metadata.json"))
    parser["bundle_root"] = str(ROOT)
    return parser.get_parsed_content("network").eval()


def paint(frame: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Lay the masks (S, H, W) over a frame (H, W) in their colors, the later structures on top."""
    picture = np.repeat(frame[..., None], 3, axis=-1)
    for name, mask in zip(STRUCTURES, masks, strict=True):
        picture[mask] = (1 - OPACITY) * picture[mask] + OPACITY * np.array(COLORS[name]) / 255
    return picture


def palette() -> Image.Image:
    """Grays, and every structure's color over grays: the same for all frames, so that nothing flickers."""
    tints = [(1 - OPACITY) * gray + OPACITY * np.array(COLORS[name]) / 255 for name in STRUCTURES for gray in TINTS]
    colors = np.concatenate([np.repeat(GRAYS[:, None], 3, axis=1), tints])
    image = Image.new("P", (1, 1))
    image.putpalette((255 * colors).round().astype(np.uint8).tobytes())
    return image


@torch.no_grad()
def draw() -> None:
    """The film on the left, the same frames with predicted masks on the right."""
    segmenter = load_shipped_model()
    study = generate_study(SEED, size=SIZE, num_frames=NUM_FRAMES)
    pictures = []
    for frame in study.frames[::2]:
        image = torch.from_numpy(frame[None])
        logits = segmenter(image)
        shown = interpolate(image, (SHOWN_SIZE, SHOWN_SIZE), mode="area")[0, 0].numpy()
        masks = interpolate(logits, (SHOWN_SIZE, SHOWN_SIZE), mode="area")[0].numpy() > 0
        both = np.concatenate([np.repeat(shown[..., None], 3, axis=-1), paint(shown, masks)], axis=1)
        pictures.append(Image.fromarray((255 * both.clip(0, 1)).astype(np.uint8)))
    first, *rest = [picture.quantize(palette=palette(), dither=Image.Dither.NONE) for picture in pictures]
    first.save(FIGURES / "swallow.gif", save_all=True, append_images=rest, duration=FRAME_MS, loop=0)


if __name__ == "__main__":
    draw()
