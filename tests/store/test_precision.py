"""Both precisions give the features back within the error of their steps."""

import pytest
import torch

from bundle.losses.statistics import FeatureStatistics
from bundle.store.precision import Float16, PhiSInt8
from bundle.store.shard import StoreError


def features(generator_seed: int = 0) -> torch.Tensor:
    """Correlated channels around a mean, one of them a hundred times louder than the rest."""
    generator = torch.Generator().manual_seed(generator_seed)
    mixing = torch.randn(12, 12, generator=torch.Generator().manual_seed(9))
    values = torch.einsum("dc,bchw->bdhw", mixing, torch.randn(8, 12, 8, 8, generator=generator)) + 3
    values[:, 0] *= 100
    return values


def relative_error(decoded: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((decoded - expected).square().mean() / expected.var()).sqrt())


@pytest.fixture
def int8() -> PhiSInt8:
    statistics = FeatureStatistics(12, "toy")
    statistics.update(features())
    return PhiSInt8.fit(statistics, [features()])


def test_float16_rounds_to_11_bits():
    expected = features()
    stored = Float16().encode(expected)
    assert stored.dtype == torch.float16
    assert ((Float16()(stored) - expected).abs() <= expected.abs() * 2**-11).all()


def test_float16_refuses_what_it_cannot_hold():
    with pytest.raises(StoreError, match=r"features up to 7e\+04 do not fit float16 \(65504\): use precision 'int8'"):
        Float16().encode(torch.full((1, 2, 1, 1), 7e4))


def test_int8_after_phi_s_has_the_error_of_its_step(int8):
    expected = features(generator_seed=1)  # not the sample
    stored = int8.encode(expected)
    assert stored.dtype == torch.int8
    uniform = float(int8.step) / 12**0.5  # of a value rounded to steps
    standardized = (int8.phi_s(int8(stored)) - int8.phi_s(expected)).square().mean().sqrt()
    assert 0.8 * uniform < standardized < 1.5 * uniform  # a few values are clipped


def test_int8_after_phi_s_loses_less_than_int8_of_the_tensor(int8):
    expected = features(generator_seed=1)
    step = expected.abs().max() / 127
    raw = (expected / step).round() * step
    quiet = (slice(None), slice(1, None))
    assert relative_error(int8(int8.encode(expected))[quiet], expected[quiet]) < 0.3
    assert relative_error(raw[quiet], expected[quiet]) > 0.9


def test_a_quantizer_is_the_same_after_loading(int8, tmp_path):
    int8.save(tmp_path / "quantizer.safetensors")
    loaded = PhiSInt8.load(tmp_path / "quantizer.safetensors")
    assert loaded.identity == int8.identity
    stored = int8.encode(features())
    assert torch.equal(loaded(stored), int8(stored))


def test_a_missing_quantizer_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"quantizer\.safetensors is missing, without which its features cannot"):
        PhiSInt8.load(tmp_path / "quantizer.safetensors")
