"""Of a recording with a black border the network sees the same in training, evaluation, inference and serving."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from PIL import Image

from bundle.annotation import fine_tuning, served_model
from bundle.annotation.fine_tuning import LabeledImage, mean_dice
from bundle.annotation.images import ImageCache
from bundle.data.datalist import load_datalist
from bundle.inference.predictor import ClipInferer
from bundle.inference.results import StudyResults
from bundle.inference.study_dataset import StudyDataset
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES
from bundle.transforms.windows import group_clips

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIZE, NUM_FRAMES = 64, 10
TOP, LEFT, ROWS, COLUMNS = 20, 56, 128, 224


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """A data list of one phantom, shown small on black."""
    folder = tmp_path_factory.mktemp("recording")
    study = generate_study(0, 80, NUM_FRAMES)
    masks = np.zeros((*study.masks.shape[:2], ROWS, COLUMNS), np.uint8)
    part = slice(TOP, TOP + 80), slice(LEFT, LEFT + 80)
    masks[:, :, *part] = study.masks
    (folder / "film").mkdir()
    for index, frame in enumerate(study.frames[:, 0]):
        values = np.zeros((ROWS, COLUMNS), np.uint8)
        values[part] = (frame * 255).round()
        Image.fromarray(values).save(folder / "film" / f"{index:02d}.png")
    nib.save(nib.Nifti1Image(masks.transpose(3, 2, 0, 1)[:, :, None], np.eye(4)), folder / "masks.nii.gz")
    entry = {"patient": "p0", "image": "film", "label": "masks.nii.gz"}
    listing = {"structures": list(STRUCTURES), "training": [entry]}
    (folder / "datalist.json").write_text(json.dumps(listing))
    return folder


@pytest.fixture(scope="module")
def expected(recording) -> torch.Tensor:
    """What training's own transforms make of all frames, ``(T, 1, size, size)``."""
    return frames_of(recording, ["train.json"], "train::deterministic_transforms")


def parsed(names: list[str], key: str) -> object:
    config = ConfigParser()
    config.read_config([str(CONFIGS / name) for name in names])
    config.update({"image_size": SIZE, "structures": list(STRUCTURES)})  # which evaluation takes from a model's card
    return config.get_parsed_content(key)


def frames_of(recording: Path, names: list[str], key: str, part: str = "image") -> torch.Tensor:
    transforms = parsed(names, key)
    transform = transforms if isinstance(transforms, Compose) else Compose(transforms)
    entries = load_datalist(recording / "datalist.json", "training", STRUCTURES)
    return torch.stack([torch.as_tensor(transform(entry)[part]) for entry in entries])


class Watched:
    """A network that keeps what it is shown."""

    image_size, structures = SIZE, STRUCTURES

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        self.seen.append(frames.clone())
        return torch.zeros(len(frames), len(STRUCTURES), SIZE, SIZE)

    def eval(self) -> "Watched":
        return self


def test_the_picture_fills_the_networks_square_and_its_labels_lie_on_it(recording, expected):
    lit = (expected > 0.1).any(dim=0)[0].nonzero()
    assert (lit.max(dim=0).values - lit.min(dim=0).values > 0.75 * SIZE).all()
    masks = frames_of(recording, ["train.json"], "train::deterministic_transforms", "label")
    study = generate_study(0, 80, NUM_FRAMES)
    assert masks.sum() == pytest.approx(study.masks.sum() * (SIZE / 84) ** 2, rel=0.15)  # 80 pixels, and a margin


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (["distill.json"], "train::deterministic_transforms"),
        (["distill.json"], "validate::preprocessing"),
        (["train.json", "evaluate.json"], "validate::preprocessing"),
    ],
    ids=["distillation", "its validation", "evaluation"],
)
def test_distillation_and_evaluation_see_what_training_sees(recording, expected, names, key):
    torch.testing.assert_close(frames_of(recording, names, key), expected, rtol=0, atol=0)


def test_training_the_memory_sees_the_same(recording, expected):
    (clip,) = group_clips(load_datalist(recording / "datalist.json", "training", STRUCTURES))
    loaded = parsed(["train.json", "train_memory.json"], "load_clip")(clip)
    torch.testing.assert_close(loaded["image"][:, None], expected, rtol=0, atol=0)


@pytest.mark.parametrize("chunk_frames", [1, 3, 8, 16])
def test_inference_sees_the_same_however_many_frames_it_reads_at_once(recording, expected, tmp_path, chunk_frames):
    network, inferer = Watched(), ClipInferer(SIZE, progress=False)
    dataset = StudyDataset([recording / "film"], StudyResults(tmp_path), chunk_frames, progress=False)
    for chunk in dataset:
        inferer(chunk["image"], network)
    torch.testing.assert_close(torch.cat(network.seen), expected, rtol=0, atol=0)


def test_serving_sees_the_same(recording, expected):
    segmenter = SimpleNamespace(
        image_size=SIZE, parameters=lambda: iter([torch.zeros(1)]), encode=lambda square: square
    )
    image = ImageCache().get(recording / "film")
    seen = [served_model._encode(segmenter, image, frame).features for frame in range(NUM_FRAMES)]
    torch.testing.assert_close(torch.cat(seen), expected, rtol=0, atol=0)


def test_the_comparison_before_a_promotion_sees_the_same(recording, expected, monkeypatch):
    network = Watched()
    monkeypatch.setattr(fine_tuning, "load_segmenter", lambda checkpoint: network)
    label = np.zeros((NUM_FRAMES, len(STRUCTURES), ROWS, COLUMNS), bool)
    label[..., 60, 90] = True
    monkeypatch.setattr(fine_tuning, "_masks", lambda *_: label)
    item = LabeledImage(recording / "film", recording / "masks.nii.gz", tuple(range(NUM_FRAMES)))
    mean_dice(Path("model.pt"), [item], ImageCache())
    torch.testing.assert_close(torch.cat(network.seen), expected, rtol=0, atol=0)
