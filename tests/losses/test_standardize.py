"""Standardizers: unit variance, invertibility, and PHI-S distorting nothing."""

import numpy as np
import pytest
import torch

from bundle.losses.distances import MeanSquared, SmoothL1
from bundle.losses.standardize import GlobalScale, Identity, PerChannel, PhiS, Whitening
from bundle.losses.statistics import FeatureStatistics

IDENTITY, GLOBAL, PER_CHANNEL, PHI_S = (kind.from_statistics for kind in (Identity, GlobalScale, PerChannel, PhiS))
KINDS = [IDENTITY, GLOBAL, PER_CHANNEL, PHI_S, Whitening.pca, Whitening.hadamard]


def feature_map(num_channels, num_tokens, loudness=3.0):
    """Correlated features with an offset and channel scales over two orders of magnitude, (1, C, 1, N)."""
    generator = torch.Generator().manual_seed(num_channels)
    rank = min(num_channels, 16)
    mix = torch.randn(rank, num_channels, generator=generator) * torch.logspace(-1, 1, num_channels)
    tokens = torch.randn(num_tokens, rank, generator=generator) @ mix
    tokens += 0.1 * torch.randn(num_tokens, num_channels, generator=generator) + 5.0
    return loudness * tokens.T[None, :, None, :]


def fitted(kind, features):
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return kind(statistics)


def channel_variances(features):  # (1, C, 1, N) -> (C,)
    return features.double().numpy().var(axis=(0, 2, 3))


@pytest.mark.parametrize("num_channels", [3, 92, 100, 116, 256, 768, 770])
def test_phi_s_gives_every_channel_unit_variance_for_any_channel_count(num_channels):
    features = feature_map(num_channels, num_tokens=1000)
    standardized = fitted(PHI_S, features)(features)
    np.testing.assert_allclose(channel_variances(standardized), 1.0, rtol=2e-4)
    np.testing.assert_allclose(standardized.mean(dim=(0, 2, 3)).numpy(), 0.0, atol=2e-4)


def test_phi_s_gives_unit_variance_on_tokens_it_has_not_seen():
    features = feature_map(100, num_tokens=20_000)
    variances = channel_variances(fitted(PHI_S, features[..., :10_000])(features[..., 10_000:]))
    assert variances.min() > 0.9
    assert variances.max() < 1.1


@pytest.mark.parametrize("kind", [PHI_S, GLOBAL])
@pytest.mark.parametrize("num_channels", [92, 96])
def test_a_similarity_keeps_the_ratio_of_all_distances(kind, num_channels):
    features = feature_map(num_channels, num_tokens=60)
    before = torch.pdist(features[0, :, 0].T.double())
    after = torch.pdist(fitted(kind, features)(features)[0, :, 0].T.double())
    ratios = (after / before).numpy()
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)


def test_per_channel_scaling_is_no_similarity():
    features = feature_map(92, num_tokens=60)
    after = torch.pdist(fitted(PER_CHANNEL, features)(features)[0, :, 0].T)
    ratios = after / torch.pdist(features[0, :, 0].T)
    assert ratios.max() / ratios.min() > 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_inverse_restores_the_features(kind):
    features = feature_map(96, num_tokens=500)
    standardizer = fitted(kind, features)
    torch.testing.assert_close(
        standardizer.inverse(standardizer(features)), features, rtol=0, atol=1e-4 * features.std().item()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_inverse_restores_features_with_dead_and_dependent_channels(kind):
    features = feature_map(12, num_tokens=500)
    features[:, 3], features[:, 4] = 7.0, features[:, 5]
    standardizer = fitted(kind, features)
    standardized = standardizer(features)
    assert torch.isfinite(standardized).all()
    atol = 1e-3 * features.std().item()  # whitening divides by the small root of the floor, in float32
    torch.testing.assert_close(standardizer.inverse(standardized), features, rtol=0, atol=atol)


@pytest.mark.parametrize("kind", [PER_CHANNEL, Whitening.pca, Whitening.hadamard])
def test_per_channel_and_whitening_give_every_channel_unit_variance(kind):
    features = feature_map(96, num_tokens=2000)
    np.testing.assert_allclose(channel_variances(fitted(kind, features)(features)), 1.0, rtol=1e-3)


@pytest.mark.parametrize("kind", [Whitening.pca, Whitening.hadamard])
def test_whitening_decorrelates_the_channels(kind):
    features = feature_map(12, num_tokens=2000)
    standardized = fitted(kind, features)(features)[0, :, 0].double().numpy()
    np.testing.assert_allclose(np.cov(standardized), np.eye(12), atol=2e-3)


def test_global_scale_gives_mean_channel_variance_one():
    features = feature_map(96, num_tokens=1000)
    variances = channel_variances(fitted(GLOBAL, features)(features))
    assert variances.mean() == pytest.approx(1.0, rel=1e-5)
    assert variances.max() > 3.0


def test_mean_squared_error_cannot_tell_phi_s_from_global_scale_but_smooth_l1_can():
    features = feature_map(92, num_tokens=400)
    teacher, student = features[..., :200], features[..., 200:]
    weight = torch.ones(1, 1, 1, 200)
    phi_s, scale = fitted(PHI_S, features), fitted(GLOBAL, features)

    def distance(measure, standardizer):
        return measure(standardizer(student), standardizer(teacher), weight)

    torch.testing.assert_close(distance(MeanSquared(), phi_s), distance(MeanSquared(), scale), rtol=1e-4, atol=0)
    assert abs(distance(SmoothL1(), phi_s) / distance(SmoothL1(), scale) - 1) > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dictionary_carries_the_map_and_the_hash_of_its_statistics(kind):
    features, others = feature_map(12, num_tokens=100), feature_map(12, num_tokens=100, loudness=50.0)
    source, copy = fitted(kind, features), fitted(kind, others)
    copy.load_state_dict(source.state_dict())
    torch.testing.assert_close(copy(features), source(features))
    statistics = FeatureStatistics(12)
    statistics.update(features)
    assert bytes(copy.sha256.tolist()).hex() == statistics.sha256


@pytest.mark.parametrize("kind", KINDS)
def test_a_standardizer_has_nothing_to_train(kind):
    assert not list(fitted(kind, feature_map(12, num_tokens=100)).parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_features_of_another_teacher_are_refused(kind, direction):
    standardizer = fitted(kind, feature_map(12, num_tokens=100))
    with pytest.raises(ValueError, match=r"features must be \(B, 12, h, w\)"):
        getattr(standardizer, direction)(torch.zeros(1, 24, 2, 2))


@pytest.mark.parametrize("kind", [GLOBAL, PER_CHANNEL, PHI_S, Whitening.pca, Whitening.hadamard])
def test_features_that_never_vary_are_refused(kind):
    with pytest.raises(ValueError, match="tokens are equal: check the teacher's weights"):
        fitted(kind, torch.ones(1, 12, 4, 4))


def test_hadamard_whitening_says_which_channel_counts_it_takes():
    with pytest.raises(ValueError, match=r"got 92: use PhiS or Whitening.pca"):
        fitted(Whitening.hadamard, feature_map(92, num_tokens=200))
