"""The inverse of a standardizer as a layer, and the heads that it is saved with."""

import pytest
import torch

from bundle.losses.restore import inverse_layer, with_inverses
from bundle.losses.standardize.global_scale import GlobalScale
from bundle.losses.standardize.hadamard_whitening import HadamardWhitening
from bundle.losses.standardize.identity import Identity
from bundle.losses.standardize.pca_whitening import PcaWhitening
from bundle.losses.standardize.per_channel import PerChannel
from bundle.losses.standardize.phi_s import PhiS
from bundle.losses.statistics import FeatureStatistics
from bundle.segmentation.retained import load_heads
from bundle.students.heads import ProjectionHead

KINDS = (Identity, GlobalScale, PerChannel, PhiS, PcaWhitening, HadamardWhitening)


def make_statistics(num_channels: int = 8) -> FeatureStatistics:
    torch.manual_seed(0)
    statistics = FeatureStatistics(num_channels, "random")
    statistics.update(3 + torch.randn(2, num_channels, 16, 16) * torch.arange(1.0, 1 + num_channels)[:, None, None])
    return statistics


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_restores_what_the_standardizer_changed(kind):
    standardizer = kind.from_statistics(make_statistics())
    features = torch.randn(2, 8, 3, 3)
    layer = inverse_layer(standardizer, 8)
    torch.testing.assert_close(layer(standardizer(features)), features, rtol=1e-4, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_heads_saved_with_their_inverses_are_read_without(tmp_path):
    heads = torch.nn.ModuleDict({"a": ProjectionHead(4, 8, 2)})
    saved = with_inverses(heads, {"a": PhiS.from_statistics(make_statistics())})
    torch.save(saved.state_dict(), tmp_path / "heads.pt")
    loaded = load_heads({"a": ProjectionHead(4, 8, 2)}, tmp_path / "heads.pt")
    embedding = torch.rand(1, 4, 2, 2)
    assert torch.equal(loaded["a"](embedding), heads["a"](embedding))
