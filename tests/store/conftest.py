"""A few small frames on disk, two tiny teachers, and the store that holds their features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import RandGaussianNoised
from PIL import Image
from torch import nn

from bundle.data.datalist import load_datalist
from bundle.engines.sampler import EpochIndex
from bundle.store.dataset import StoredViews
from bundle.store.fill import StoreFiller
from bundle.store.passes import FillOptions
from bundle.store.views import ViewRecipe
from bundle.transforms.affine import RandAffineFramed
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

SIZE, NUM_VIEWS = 16, 3


class ToyTeacher(nn.Module):
    """A frozen convolution that counts the frames it has seen."""

    def __init__(self, embed_dim: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.input_size, self.grid_size, self.embed_dim = SIZE, 4, embed_dim
        self.weight = nn.Parameter(torch.randn(embed_dim, 1, 4, 4, generator=generator), requires_grad=False)
        self.num_frames = 0

    def forward(self, frames):
        self.num_frames += len(frames)
        return nn.functional.conv2d(frames, self.weight, stride=4)

    def valid_grid(self, valid):
        return nn.functional.adaptive_avg_pool2d(valid.float(), 4)


def write_frames(root: Path, num_frames: int = 5) -> Path:
    """A data list of two clips, one of them wide so that it is padded; returns its path."""
    rng = np.random.default_rng(0)
    for name, shape in (("a", (SIZE, SIZE)), ("b", (SIZE, SIZE // 2)), ("c", (SIZE, SIZE))):
        (root / name).mkdir(parents=True)
        for index in range(num_frames):
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(root / name / f"{index}.png")
    content = {
        "structures": ["hyoid"],
        "training": [{"patient": name, "image": name} for name in ("a", "b")],
        "validation": [{"patient": "c", "image": "c"}],
    }
    (root / "datalist.json").write_text(json.dumps(content))
    return root / "datalist.json"


class Stage:
    """The stage with its settings as attributes, to run it again with one of them changed."""

    def __init__(self, root: Path) -> None:
        self.folder, self.datalist = root / "store", write_frames(root / "data")
        self.teachers = {"loud": ToyTeacher(12, seed=1), "quiet": ToyTeacher(5, seed=2)}
        self.options = {
            "image_size": SIZE,
            "num_views": NUM_VIEWS,
            "precision": "float16",
            "batch_size": 4,
            "shard_mib": 0.001,
        }
        self.noise, self.seed = 0.1, 0

    @property
    def recipe(self) -> ViewRecipe:
        keys = ["image", "valid"]
        return ViewRecipe(
            [LoadFramed(None), Letterboxd("image", SIZE)],
            [
                RandAffineFramed(keys, prob=0.8, degrees=20, mode=["bilinear", "nearest"]),
                RandGaussianNoised("image", prob=0.5, std=self.noise),
            ],
            self.seed,
        )

    def entries(self, section: str = "training"):
        return load_datalist(self.datalist, section)

    def filler(self, **options) -> StoreFiller:
        options = {**self.options, **options}
        num_views = options.pop("num_views")
        sections = self.entries("training"), self.entries("validation")
        return StoreFiller(self.folder, self.recipe, *sections, self.teachers, num_views, FillOptions(**options))

    def fill(self, rank: int = 0, num_ranks: int = 1, **options) -> dict[str, int]:
        """Run the stage; returns how many frames each teacher saw."""
        before = {name: teacher.num_frames for name, teacher in self.teachers.items()}
        self.filler(**options).run(rank, num_ranks)
        return {name: teacher.num_frames - before[name] for name, teacher in self.teachers.items()}

    def views(self, section: str = "training", **options) -> StoredViews:
        precision = self.options["precision"]
        num_views = self.options["num_views"] if section == "training" else 0
        arguments = {"num_views": num_views, "precision": precision, **options}
        return StoredViews(self.folder, self.recipe, self.entries(section), self.teachers, **arguments)


def items(views: StoredViews) -> list[dict]:
    """All views of all frames, as the first epochs give them."""
    return [views[EpochIndex(index, epoch)] for epoch in range(views.num_views) for index in range(len(views))]


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def filled(stage) -> Stage:
    stage.fill()
    return stage
