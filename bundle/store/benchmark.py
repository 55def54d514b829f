"""Teachers and frames on which the store's precision is measured."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bundle.data.datalist import load_datalist
from bundle.data.phantom import make_phantom_dataset
from bundle.keys import IMAGE
from bundle.store.benchmark_precision import BATCH_SIZE
from bundle.store.views import ViewRecipe
from bundle.teachers.medclip import load_medclip, small_medclip
from bundle.teachers.medsam2 import load_medsam2, small_medsam2
from bundle.teachers.rad_dino import load_rad_dino, small_rad_dino
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed


def small_teachers(models: Path) -> Mapping[str, nn.Module]:
    """The three teachers that ship with the bundle."""
    return {
        "medsam2": load_medsam2(models / "medsam2_small.safetensors", encoder=small_medsam2()),
        "rad_dino": load_rad_dino(models / "rad_dino_small.safetensors", encoder=small_rad_dino()),
        "medclip": load_medclip(models / "medclip_small.safetensors", encoder=small_medclip()),
    }


def phantom_frames(root: Path, size: int = 256) -> tuple[list[Tensor], list[Tensor]]:
    """Batches of frames of 24 patients, and of 6 others."""
    datalist = make_phantom_dataset(root, 24, 6, 1, size=size, num_frames=4, seed=7)
    recipe = ViewRecipe([LoadFramed(None), Letterboxd("image", size)])
    sections = []
    for section in ("training", "validation"):
        frames = torch.stack([recipe.frame(entry)[0][IMAGE] for entry in load_datalist(datalist, section)])
        sections.append(list(frames.split(BATCH_SIZE)))
    return sections[0], sections[1]
