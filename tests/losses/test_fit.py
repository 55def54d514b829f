"""Fitting standardizers: the teachers run once over the frames, and never again while their weights stay."""

import pytest
import torch
from torch import nn

from bundle.losses.fit import fit_standardizers, fit_statistics
from bundle.losses.standardize import GlobalScale, PhiS
from bundle.losses.statistics import load_statistics

pytestmark = pytest.mark.filterwarnings("ignore:statistics of:UserWarning")


class ToyTeacher(nn.Module):
    """A frozen convolution that counts its calls."""

    def __init__(self, embed_dim, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.name, self.input_size, self.grid_size, self.embed_dim = f"toy{seed}", 16, 4, embed_dim
        self.encode = nn.Conv2d(1, embed_dim, kernel_size=4, stride=4).requires_grad_(False)
        self.num_calls = 0

    def forward(self, frames):
        self.num_calls += 1
        return self.encode(frames)

    def valid_grid(self, valid):
        return nn.functional.avg_pool2d(valid, 4)


@pytest.fixture
def teachers():
    return {"loud": ToyTeacher(12, seed=1), "quiet": ToyTeacher(5, seed=2)}


@pytest.fixture
def frames():
    generator = torch.Generator().manual_seed(3)
    return [{"image": torch.rand(4, 1, 16, 16, generator=generator), "valid": torch.ones(4, 1, 16, 16)}] * 3


def test_every_teacher_gets_a_standardizer_that_fits_its_features(teachers, frames):
    standardizers = fit_standardizers(teachers, frames, PhiS)
    assert list(standardizers) == ["loud", "quiet"]
    standardized = standardizers["quiet"](teachers["quiet"](frames[0]["image"]))
    torch.testing.assert_close(standardized.var(dim=(0, 2, 3), correction=0), torch.ones(5), rtol=1e-3, atol=1e-3)


def test_any_function_of_the_statistics_can_make_the_standardizer(teachers, frames):
    standardizers = fit_standardizers(teachers, frames, lambda statistics: nn.Flatten(statistics.num_images))
    assert standardizers["loud"].start_dim == 12


def test_stored_statistics_are_reused_without_running_a_teacher(teachers, frames, tmp_path):
    path = tmp_path / "statistics.safetensors"
    first = fit_standardizers(teachers, frames, PhiS, path)
    num_calls = teachers["loud"].num_calls
    again = fit_standardizers(teachers, [], GlobalScale, path)
    assert teachers["loud"].num_calls == num_calls == 3
    assert torch.equal(again["loud"].sha256, first["loud"].sha256)


def test_a_teacher_with_other_weights_is_measured_again_and_the_rest_is_kept(teachers, frames, tmp_path, caplog):
    path = tmp_path / "statistics.safetensors"
    before = fit_statistics(teachers, frames, path)
    changed = {"loud": ToyTeacher(12, seed=9), "quiet": teachers["quiet"]}
    after = fit_statistics(changed, frames, path)
    assert "statistics of 'loud' are of other weights" in caplog.text
    assert (changed["loud"].num_calls, changed["quiet"].num_calls) == (3, 3)
    assert after["loud"].sha256 != before["loud"].sha256
    assert load_statistics(path)["quiet"].sha256 == before["quiet"].sha256


def test_a_teacher_at_another_input_size_is_measured_again(teachers, frames, tmp_path):
    path = tmp_path / "statistics.safetensors"
    fit_statistics(teachers, frames, path)
    teachers["loud"].input_size = 32
    fit_statistics(teachers, frames, path)
    assert (teachers["loud"].num_calls, teachers["quiet"].num_calls) == (6, 3)


def test_statistics_of_other_frames_are_measured_again(teachers, frames, tmp_path):
    path = tmp_path / "statistics.safetensors"
    fit_statistics(teachers, frames, path, frames_id="one data list")
    fit_statistics(teachers, frames, path, frames_id="one data list")
    assert teachers["loud"].num_calls == 3
    fit_statistics(teachers, frames, path, frames_id=None)  # of whatever frames
    assert teachers["loud"].num_calls == 3
    fit_statistics(teachers, frames, path, frames_id="another data list")
    assert teachers["loud"].num_calls == 6


def test_only_as_many_batches_as_asked_for_are_read(teachers, frames):
    fit_statistics(teachers, iter(frames), num_batches=2)
    assert teachers["loud"].num_calls == 2


def test_padding_is_left_out(teachers, frames):
    padded = [{"image": batch["image"], "valid": batch["valid"].clone()} for batch in frames]
    for batch in padded:
        batch["valid"][..., 8:] = 0
    assert fit_statistics(teachers, padded)["loud"].num_tokens == 3 * 4 * 8


def test_no_frames_is_an_error_with_a_remedy(teachers):
    with pytest.raises(ValueError, match="at least one batch of training frames, got none: check the data list"):
        fit_standardizers(teachers, [], PhiS)
