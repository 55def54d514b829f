"""Without labels: prompts from true masks, answered by a decoder on its teacher's and a student's features."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from bundle.engines.zero_label import LabeledFilms, zero_label_scores
from bundle.laboratory.public_sets.radiographs import make_chest_xray_datalist
from bundle.losses.standardize import Identity
from bundle.segmentation.segmenter import make_decoder
from bundle.segmentation.teacher_decoder import TeacherDecoder
from bundle.students.encoder import StudentEncoder
from bundle.students.heads import ProjectionHead, with_inverses
from bundle.students.trunk import TimmTrunk
from bundle.teachers.base import Teacher

SIZE = 64
LEFT, RIGHT = (slice(10, 40), slice(5, 20)), (slice(12, 50), slice(34, 60))


class Encoder(torch.nn.Module):
    """Anything with 16 channels at stride 4."""

    input_size, grid_size, embed_dim = SIZE, SIZE // 4, 16
    mean, std = (0.5,) * 3, (0.5,) * 3

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 16, kernel_size=4, stride=4)

    def forward(self, images):
        return self.conv(images)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A phase 1's folder, a data list of three films of two rectangles and a speck, a teacher and its decoder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("zero_label")
    student = StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=16)
    heads = torch.nn.ModuleDict({"toy": ProjectionHead(16, 16, 16)})
    identity = Identity(16, torch.zeros(32, dtype=torch.uint8))
    torch.save(student.state_dict(), folder / "student.pt")
    torch.save(with_inverses(heads, {"toy": identity}).state_dict(), folder / "heads.pt")
    card = {"student_backbone": "efficientvit_b0", "embed_dim": 16, "image_size": SIZE}
    (folder / "student.json").write_text(json.dumps(card))
    (folder / "heads.json").write_text(json.dumps({"fine_heads": True, "grid_sizes": {"toy": 16}}))
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[LEFT] = mask[RIGHT] = 255
    mask[60, 2] = 255
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(3):
        film = np.random.default_rng(number).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
        Image.fromarray(film).save(folder / "images" / f"film{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"film{number}.png")
    decoder = TeacherDecoder(*make_decoder(16, grid_size=16, image_size=SIZE, is_sam2=False))
    return {
        "distill_folder": folder,
        "films": LabeledFilms(make_chest_xray_datalist(folder, folder, (0.34, 0.33, 0.33)), "test"),
        "teacher": "toy",
        "teachers": {"toy": Teacher("toy", Encoder(), "random")},
        "decoder": decoder,
    }


def test_every_part_is_prompted_and_every_source_is_scored(parts, tmp_path):
    scores = zero_label_scores(**parts)
    assert list(scores.tables) == [
        ("box", "teacher"),
        ("box", "student"),
        ("box", "filled box"),
        ("click", "teacher"),
        ("click", "student"),
    ]
    (box,) = scores.tables["box", "filled box"].scores
    area = 30 * 15 + 38 * 26  # of both rectangles; the speck is not prompted, but counts
    assert box.dice == pytest.approx(2 * area / (2 * area + 1))
    scores.write(tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert {(row["prompt"], row["source"], row["structure"]) for row in rows} == {
        (*key, "lung") for key in scores.tables
    }
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["box"]["filled box"]["mean_dice"] == pytest.approx(box.dice)


def test_only_what_is_asked_for_is_run(parts):
    scores = zero_label_scores(prompts=["box"], sources=["student"], **parts)
    assert list(scores.tables) == [("box", "student")]
    assert list(scores.milliseconds) == ["student"]


def test_unknown_words_are_refused(parts):
    with pytest.raises(ValueError, match=r"prompts must be of \['box', 'click'\].* got \['circle'\]"):
        zero_label_scores(prompts=["circle"], **parts)
    with pytest.raises(ValueError, match=r"sources must be of"):
        zero_label_scores(sources=[], **parts)
