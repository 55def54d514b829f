"""Folders as those of JSRT and of the two hospitals, with drawn ellipses instead of patients."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 64
PARTS = {
    "heart": (36, 34, 9, 8),
    "left_lung": (32, 46, 18, 9),
    "right_lung": (32, 18, 18, 9),
    "left_clavicle": (12, 44, 3, 10),
    "right_clavicle": (12, 20, 3, 10),
}
"""Row, column, and half axes of each structure."""


def draw_film(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """An image ``(SIZE, SIZE)`` uint8 and its masks."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    masks, image = {}, random.normal(90, 6, (SIZE, SIZE))
    for name, (row, column, high, wide) in PARTS.items():
        row, column = random.normal((row, column), 1.5)
        masks[name] = ((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 < 1
        image[masks[name]] += -40 if "lung" in name else 40
    return image.clip(0, 255).astype(np.uint8), masks


def make_folders(root: Path, num_jsrt: int = 16, num_chest: int = 10) -> tuple[Path, Path]:
    """Folders of JSRT and of chest X-rays, half of these of each hospital."""
    jsrt, chest = root / "jsrt", root / "chest_xrays"
    for number in range(num_jsrt):
        image, masks = draw_film(number)
        _save(jsrt / "images" / f"JPCLN{number:03}.png", image)
        for name, mask in masks.items():
            _save(jsrt / "masks" / name / f"JPCLN{number:03}.png", mask)
    for number in range(num_chest):
        image, masks = draw_film(100 + number)
        name = f"{('MCUCXR', 'CHNCXR')[number % 2]}_{number:04}_0.png"
        _save(chest / "images" / name, image)
        _save(chest / "masks" / name, np.uint8(255) * (masks["left_lung"] | masks["right_lung"]))
    return jsrt, chest


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
