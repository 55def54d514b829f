"""The store's measurements together, as ``scripts/bench_store.py`` prints them."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bundle.data.datalist import load_datalist
from bundle.data.phantom import make_phantom_dataset
from bundle.keys import IMAGE
from bundle.store import benchmark_formats, benchmark_precision, benchmark_scale
from bundle.store.views import ViewRecipe
from bundle.teachers.medclip import load_medclip, small_medclip
from bundle.teachers.medsam2 import load_medsam2, small_medsam2
from bundle.teachers.rad_dino import load_rad_dino, small_rad_dino
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

PARTS = ("formats", "scale", "precision")


def run(part: str, folder: Path, models: Path, num_entries: int = 256, sizes: Sequence[int] = (100, 1000)) -> str:
    """One part's table.

    Args:
        part: "formats", "scale" or "precision".
        folder: On the disk that is to be measured.
        models: Where the small teachers' weights are.
        num_entries: Of 3 MB each, for the formats.
        sizes: Numbers of entries, for the scale.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if part == "formats":
        return benchmark_formats.table(benchmark_formats.measure_formats(folder, num_entries))
    if part == "scale":
        return benchmark_scale.table(benchmark_scale.measure_scale(folder, sizes))
    if part == "precision":
        with tempfile.TemporaryDirectory(dir=folder) as holder:
            fitted, held_out = _phantom_frames(Path(holder) / "phantom")
        return benchmark_precision.table(
            benchmark_precision.measure_precision(small_teachers(models), fitted, held_out)
        )
    raise ValueError(f"part must be one of {list(PARTS)}, got {part!r}")


def small_teachers(models: Path) -> Mapping[str, nn.Module]:
    """The three teachers that ship with the bundle."""
    return {
        "medsam2": load_medsam2(models / "medsam2_small.safetensors", encoder=small_medsam2()),
        "rad_dino": load_rad_dino(models / "rad_dino_small.safetensors", encoder=small_rad_dino()),
        "medclip": load_medclip(models / "medclip_small.safetensors", encoder=small_medclip()),
    }


def _phantom_frames(root: Path, size: int = 256) -> tuple[list[Tensor], list[Tensor]]:
    """Batches of frames of 24 patients, and of 6 others."""
    datalist = make_phantom_dataset(root, 24, 6, 1, size=size, num_frames=4, seed=7)
    recipe = ViewRecipe([LoadFramed(None), Letterboxd("image", size)])
    sections = []
    for section in ("training", "validation"):
        frames = torch.stack([recipe.frame(entry)[0][IMAGE] for entry in load_datalist(datalist, section)])
        sections.append(list(frames.split(benchmark_precision.BATCH_SIZE)))
    return sections[0], sections[1]
