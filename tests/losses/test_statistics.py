"""Feature statistics: streaming equals one pass, shards equal the whole, and the file is trusted only if intact."""

import doctest

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bundle.losses import statistics as statistics_module
from bundle.losses.statistics import FeatureStatistics, load_statistics, save_statistics


@pytest.fixture
def tokens():
    """500 correlated tokens of 6 channels far from zero, where naive sums of squares lose digits."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(500, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 1000.0


def seen(*batches):
    statistics = FeatureStatistics(num_channels=6)
    for batch in batches:
        statistics.update(batch)
    return statistics


def test_streaming_gives_the_mean_and_covariance_that_numpy_gives(tokens):
    statistics = seen(*tokens.split(70))
    np.testing.assert_allclose(statistics.mean.numpy(), tokens.double().numpy().mean(axis=0), rtol=1e-12)
    expected = np.cov(tokens.double().numpy().T, ddof=0)
    np.testing.assert_allclose(statistics.covariance.numpy(), expected, rtol=1e-10, atol=1e-10)
    assert statistics.num_tokens == 500
    assert statistics.num_images == 8


def test_the_documented_example_is_true():
    results = doctest.testmod(statistics_module)
    assert results.attempted > 0
    assert results.failed == 0


def test_merged_shards_equal_one_pass(tokens):
    whole, merged = seen(tokens), seen(tokens[:13])
    for shard in tokens[13:].split((1, 400, 86)):
        merged.merge(seen(shard))
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-10, atol=0)
    torch.testing.assert_close(merged.covariance, whole.covariance, rtol=1e-10, atol=1e-10)
    assert merged.num_tokens == whole.num_tokens


def test_an_empty_shard_changes_nothing(tokens):
    statistics = seen(tokens)
    before = statistics.sha256
    statistics.merge(FeatureStatistics(num_channels=6))
    assert statistics.sha256 == before


def test_feature_maps_count_every_position_of_every_image():
    features = torch.arange(2 * 6 * 2 * 2, dtype=torch.float32).reshape(2, 6, 2, 2)
    statistics = seen(features)
    assert (statistics.num_images, statistics.num_tokens) == (2, 8)
    torch.testing.assert_close(statistics.mean, features.double().mean(dim=(0, 2, 3)))


def test_padding_is_left_out_whatever_it_holds(tokens):
    features = tokens[:8].T.reshape(1, 6, 2, 4).clone()
    valid = torch.tensor([[[[1.0, 1.0, 0.9, 0.0], [1.0, 1.0, 0.6, 0.4]]]])
    features[..., 3] = torch.nan
    statistics = FeatureStatistics(num_channels=6)
    statistics.update(features, valid)
    assert statistics.num_tokens == 6
    torch.testing.assert_close(statistics.mean, features[..., :3].double().mean(dim=(0, 2, 3)))


def test_metadata_of_monai_tensors_does_not_follow_into_the_file(tokens, tmp_path):
    statistics = seen(MetaTensor(tokens))
    assert type(statistics.mean) is type(statistics.covariance) is torch.Tensor
    save_statistics({"medsam2": statistics}, tmp_path / "statistics.safetensors")


def test_nan_in_the_image_is_refused(tokens):
    tokens[3, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        seen(tokens)


@pytest.mark.parametrize("shape", [(5, 7), (2, 7, 3, 3), (2, 6, 3)])
def test_features_of_another_teacher_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be \(B, 6, h, w\) or \(N, 6\)"):
        seen(torch.zeros(shape))


def test_statistics_of_different_weights_do_not_merge():
    with pytest.raises(ValueError, match="different features cannot be merged"):
        FeatureStatistics(6, source="weights a").merge(FeatureStatistics(6, source="weights b"))


def test_a_covariance_of_one_token_is_refused(tokens):
    with pytest.raises(ValueError, match="at least 2 tokens"):
        _ = seen(tokens[:1]).covariance


def test_a_small_sample_is_warned_of(tokens):
    with pytest.warns(UserWarning, match="'medclip' rest on 500 tokens from 1 images; at least 10000 tokens from 200"):
        seen(tokens).warn_if_small("medclip")


def test_the_hash_depends_on_content_only(tokens):
    assert seen(tokens).sha256 == seen(tokens).sha256
    assert seen(tokens).sha256 != seen(tokens + 1e-3).sha256


def test_a_file_gives_back_what_was_saved(tokens, tmp_path):
    first, second = seen(tokens), FeatureStatistics(num_channels=6, source="weights b")
    save_statistics({"medsam2": first, "rad_dino": second}, tmp_path / "new folder" / "statistics.safetensors")
    restored = load_statistics(tmp_path / "new folder" / "statistics.safetensors")
    assert list(restored) == ["medsam2", "rad_dino"]
    assert restored["medsam2"].sha256 == first.sha256
    torch.testing.assert_close(restored["medsam2"].covariance, first.covariance, rtol=0, atol=0)
    assert restored["rad_dino"].source == "weights b"


def test_saving_leaves_no_unfinished_file(tokens, tmp_path):
    save_statistics({"medsam2": seen(tokens)}, tmp_path / "statistics.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["statistics.safetensors"]


def test_a_changed_file_is_refused(tokens, tmp_path):
    path = tmp_path / "statistics.safetensors"
    save_statistics({"medsam2": seen(tokens)}, path)
    tensors = load_file(path)
    tensors["medsam2/mean"][0] += 1
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"statistics of 'medsam2' .* the file was changed or damaged, delete it"):
        load_statistics(path)


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(ValueError, match="no readable safetensors file"):
        load_statistics(tmp_path / "text.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="must be of format 'feature-statistics-1', got None"):
        load_statistics(tmp_path / "weights.safetensors")
    with pytest.raises(FileNotFoundError, match="no feature statistics at"):
        load_statistics(tmp_path / "absent.safetensors")
