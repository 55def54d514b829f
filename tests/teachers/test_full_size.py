"""The three full-size teachers load from the published formats, here with random weights, by the code for the real."""

import pytest
import torch
from safetensors.torch import load_file
from sam2.build_sam import build_sam2
from torch import nn
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model, SwinConfig, SwinModel

from bundle.teachers.medclip import load_medclip
from bundle.teachers.medsam2 import load_medsam2
from bundle.teachers.rad_dino import load_rad_dino

pytestmark = pytest.mark.slow


def test_medsam2_loads_from_a_whole_sam_2_1_checkpoint(tmp_path):
    torch.manual_seed(0)
    sam2 = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", ckpt_path=None, device="cpu")
    torch.save({"model": sam2.state_dict()}, tmp_path / "MedSAM2_latest.pt")
    teacher = load_medsam2(tmp_path)
    frames = torch.rand(1, 1, 512, 512)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = sam2.image_encoder((frames - mean.view(3, 1, 1)) / std.view(3, 1, 1))["vision_features"]
    features = teacher(frames)
    assert features.shape == (1, 256, 32, 32)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_rad_dino_loads_from_its_hub_s_folder(tmp_path):
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(image_size=518)).eval()  # transformers' defaults are ViT-B/14's
    model.save_pretrained(tmp_path)
    frames = torch.rand(1, 1, 518, 518)
    with torch.no_grad():
        expected = model(((frames - 0.5307) / 0.2583).expand(-1, 3, -1, -1)).last_hidden_state[:, 1:]
    features = load_rad_dino(tmp_path)(frames)
    assert features.shape == (1, 768, 37, 37)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), expected, atol=1e-4, rtol=1e-4)


def test_medclip_loads_from_its_whole_model(tmp_path):
    torch.manual_seed(0)
    swin = SwinModel(SwinConfig()).eval()  # transformers' defaults are those of swin-tiny-patch4-window7-224
    swin.save_pretrained(tmp_path / "swin")
    text = BertModel(BertConfig(vocab_size=100, num_hidden_layers=1))  # the text tower is not read, so a short one does
    published = {f"vision_model.model.{k}": v for k, v in load_file(tmp_path / "swin" / "model.safetensors").items()}
    published |= {f"text_model.model.{key}": value for key, value in text.state_dict().items()}
    published["vision_model.projection_head.weight"] = nn.Linear(768, 512, bias=False).weight.detach()
    published["text_model.projection_head.weight"] = nn.Linear(768, 512, bias=False).weight.detach()
    published["logit_scale"] = torch.tensor(2.66)
    torch.save(published, tmp_path / "pytorch_model.bin")
    frames = torch.rand(1, 1, 224, 224)
    with torch.no_grad():
        tokens = swin(((frames - 0.5862785803043838) / 0.27950088968644304).expand(-1, 3, -1, -1)).last_hidden_state
    features = load_medclip(tmp_path)(frames)
    assert features.shape == (1, 768, 7, 7)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens, atol=1e-4, rtol=1e-4)
