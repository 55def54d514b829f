"""MedCLIP's features are its towers' last maps, from the published whole model."""

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from transformers import SwinConfig, SwinModel

from bundle.teachers.medclip import MedClipResNet, MedClipSwin, load_medclip
from bundle.weights import WeightsError

TEXT_TOWER = {
    "text_model.model.embeddings.position_ids": torch.arange(4),
    "text_model.projection_head.weight": torch.zeros(2, 2),
    "logit_scale": torch.tensor(2.66),
}


def make_tiny():
    return MedClipSwin(input_size=224, embed_dim=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))


@pytest.fixture
def swin(tmp_path):
    """MedCLIP as published, its Swin tower saved by transformers itself: the file, the tower, the projection."""
    torch.manual_seed(0)
    model = SwinModel(SwinConfig(embed_dim=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], drop_path_rate=0.0)).eval()
    model.save_pretrained(tmp_path / "swin")
    tower = {f"vision_model.model.{key}": v for key, v in load_file(tmp_path / "swin" / "model.safetensors").items()}
    index = "vision_model.model.encoder.layers.0.blocks.0.attention.self.relative_position_index"
    projection = torch.randn(512, 32)
    extra = {index: torch.zeros(49, 49), "vision_model.projection_head.weight": projection}
    torch.save(tower | extra | TEXT_TOWER, tmp_path / "pytorch_model.bin")
    return tmp_path / "pytorch_model.bin", model, projection


def prepare(frames):
    return ((frames - 0.5862785803043838) / 0.27950088968644304).expand(-1, 3, -1, -1)


def test_swin_s_features_are_its_last_tokens_before_pooling(swin):
    path, model, _ = swin
    frames = torch.rand(2, 1, 224, 224)
    with torch.no_grad():
        tokens = model(prepare(frames)).last_hidden_state
    features = load_medclip(path, make_tiny())(frames)
    assert features.shape == (2, 32, 7, 7)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens)


def test_swin_s_summary_is_the_projected_pooled_vector(swin):
    path, model, projection = swin
    images = prepare(torch.rand(2, 1, 224, 224))
    with torch.no_grad():
        expected = model(images).pooler_output @ projection.T
        summary = load_medclip(path.parent, make_tiny()).encoder.summary(images)
    torch.testing.assert_close(summary, expected)


def test_swin_s_published_names_are_those_of_the_file(swin):
    path, _, _ = swin
    file = {key for key in torch.load(path) if not key.endswith("index")} - TEXT_TOWER.keys()
    assert set(make_tiny().published_state_dict()) == file


def test_resnet_s_features_pool_and_project_to_its_own_output(tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None)
    model.fc = nn.Linear(2048, 512, bias=False)
    published = {f"vision_model.model.{key}": value for key, value in model.state_dict().items()}
    torch.save(published | TEXT_TOWER, tmp_path / "pytorch_model.bin")
    teacher = load_medclip(tmp_path, MedClipResNet(input_size=64))
    frames = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = model.eval()(prepare(frames))
        pooled = model.fc(teacher(frames).mean(dim=(2, 3)))
    torch.testing.assert_close(pooled, expected)


def test_the_other_tower_s_file_is_an_error(swin):
    path, _, _ = swin
    with pytest.raises(WeightsError, match=r"does not fit MedClipResNet: .* missing .*vision_model.model.bn1"):
        load_medclip(path, MedClipResNet(input_size=64))


def test_an_input_size_off_the_stride_is_refused():
    with pytest.raises(ValueError, match="multiple of 32, got 225"):
        MedClipResNet(input_size=225)


@pytest.mark.parametrize("input_size", [192, 250])
def test_swin_refuses_an_input_that_its_windows_do_not_fit(input_size):
    with pytest.raises(ValueError, match=f"multiple of 32, 224 at least .* got {input_size}"):
        MedClipSwin(input_size=input_size)
