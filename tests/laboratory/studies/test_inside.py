"""The whole page, small: with networks of random weights in place of the distilled student and the shipped model."""

import re

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from bundle.atomic import write_json
from bundle.laboratory.studies import inside
from bundle.laboratory.studies.feature_space import draw_feature_maps, explained_share
from bundle.laboratory.studies.networks import (
    AFTER,
    BEFORE,
    FIRST_SEED,
    LAYERS,
    Networks,
    all_features,
    held_out_frames,
    student_layers,
)
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.teachers.derived import load_placebo
from bundle.weights import file_sha256

AMOUNTS = inside.Amounts(map_patients=1, feature_patients=2, failure_patients=3, num_frames=1, worst=2)


def make_student(seed: int) -> StudentEncoder:
    torch.manual_seed(seed)
    return StudentEncoder(TimmTrunk("efficientvit_b0")).eval()


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks({"placebo": load_placebo()}, {BEFORE: make_student(0), AFTER: make_student(1)})


@pytest.fixture(scope="module")
def page(networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    model = folder / "model.pt"
    segmenter = Segmenter(make_student(2), STRUCTURES, image_size=64)
    torch.save(segmenter.state_dict(), model)
    card = {"student_backbone": "efficientvit_b0", "embed_dim": 256, "image_size": 64, "structures": STRUCTURES}
    write_json(model.with_suffix(".json"), card)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inside, "load_networks", lambda *_: networks)
        path = inside.look_inside("small", folder / "runs", folder / "evidence", model, AMOUNTS)
    return path, file_sha256(model)


def test_every_picture_of_the_page_is_there_and_no_other(page):
    path, _ = page
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text())
    assert len(named) == 6
    assert {"inside.md", *named} == {file.name for file in path.parent.iterdir()}
    for name in named:
        if name.endswith(".png"):
            picture = imread(path.parent / name)
            assert min(picture.shape[:2]) > 100
            assert picture[..., :3].std() > 0.05


def test_the_page_says_what_it_shows(page):
    path, sha256 = page
    text = path.read_text()
    for part in (
        "**synthetic**",
        f"`model.pt` (SHA-256 {sha256[:12]}…), at 64 x 64, 3 patients",
        f"seeds {FIRST_SEED} to {FIRST_SEED + 2}",
        "`python scripts/laboratory/look_inside.py --scale small`",
        "image_size of phase_1 64",
        "| standard | embedding | ",
        "| student after | ",
        "### Hard domain",
    ):
        assert part in text
    assert "{" not in text
    assert not re.search(r"\bnan\b", text)


def test_a_model_without_a_card_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model\.json beside"):
        inside.look_inside("small", tmp_path / "runs", tmp_path / "evidence", tmp_path / "model.pt", AMOUNTS)
    assert list(tmp_path.iterdir()) == []


def test_layers_are_the_trunks_stages_and_what_the_decoder_gets(networks):
    student, frames = networks.students[BEFORE], torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        layers = student_layers(student, frames)
        torch.testing.assert_close(layers["embedding"], student.embed(frames))
    assert tuple(layers) == LAYERS
    assert [value.shape[-1] for value in layers.values()] == [16, 8, 4, 2, 4]


def test_held_out_frames_are_those_of_both_domains_and_of_no_other_patient():
    standard, hard = (held_out_frames(domain, 2, 3, 32) for domain in ("standard", "hard"))
    assert standard.patients.tolist() == [FIRST_SEED] * 3 + [FIRST_SEED + 1] * 3
    assert standard.frames.shape == (6, 1, 32, 32)
    assert standard.masks.shape == (6, len(STRUCTURES), 32, 32)
    assert not torch.equal(standard.frames, hard.frames)
    with pytest.raises(ValueError, match="one patient or more, got num_patients=0"):
        held_out_frames("hard", 0, 3, 32)


def test_three_components_hold_all_of_three_channels_and_less_of_many():
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert explained_share(maps) == pytest.approx(1.0)
    assert 0.3 < explained_share(torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0))) < 0.7


def test_maps_are_columns_under_their_groups(networks):
    frames = held_out_frames("standard", 1, 2, 64).frames
    (features,) = all_features(networks, frames)
    figure = draw_feature_maps(frames, {"teachers": features.teachers, "student": features.students[AFTER]}, ["a", "b"])
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes if axes.get_title()]
    assert titles == ["frame", "placebo", *LAYERS]
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["a", "b"]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[..., 0], frames[0, 0].numpy())
