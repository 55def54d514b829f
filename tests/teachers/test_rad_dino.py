"""RAD-DINO's features are DINOv2's patch tokens, from the files that transformers writes."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model

from bundle.teachers.rad_dino import RadDino, load_rad_dino
from bundle.weights import WeightsError


def make_tiny():
    return RadDino(input_size=28, hidden_size=8, num_layers=2, num_heads=2)


@pytest.fixture
def published(tmp_path):
    """A model saved by transformers itself, in the format of the hub, and the model."""
    torch.manual_seed(0)
    config = Dinov2Config(image_size=28, patch_size=14, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    model = Dinov2Model(config).eval()
    model.save_pretrained(tmp_path)
    return tmp_path, model


def test_a_hub_s_folder_gives_the_model_s_own_patch_tokens(published):
    folder, model = published
    frames = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        tokens = model(((frames - 0.5307) / 0.2583).expand(-1, 3, -1, -1)).last_hidden_state
    features = load_rad_dino(folder, make_tiny())(frames)
    assert features.shape == (2, 8, 2, 2)
    for position, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        torch.testing.assert_close(features[:, :, row, column], tokens[:, 1 + position])


def test_the_older_bin_format_gives_the_same(published, tmp_path):
    folder, _ = published
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    frames = torch.rand(1, 1, 28, 28)
    from_bin = load_rad_dino(tmp_path / "pytorch_model.bin", make_tiny())
    torch.testing.assert_close(from_bin(frames), load_rad_dino(folder, make_tiny())(frames))


def test_published_names_are_those_that_transformers_writes(published):
    folder, _ = published
    assert set(make_tiny().published_state_dict()) == set(load_file(folder / "model.safetensors"))


def test_another_depth_is_an_error(published):
    folder, _ = published
    with pytest.raises(WeightsError, match=r"does not fit RadDino: 18 missing \(encoder.layer.2"):
        load_rad_dino(folder, RadDino(input_size=28, hidden_size=8, num_layers=3, num_heads=2))


def test_an_input_size_off_the_patch_size_is_refused():
    with pytest.raises(ValueError, match="multiple of patch_size 14, got 512"):
        RadDino(input_size=512)
