"""The clip inferer: where masks land, mini-batches, and what is refused."""

import types

import psutil
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from bundle.inference.predictor import ClipInferer


class BrightAndDark(nn.Module):
    """Two structures, bright and dark pixels; notes the batches that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.batches: list[tuple[int, ...]] = []

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(frames.shape))
        return torch.cat([frames - 0.5, 0.5 - frames], dim=1) * self.scale


def square_clip(num_frames: int = 5, rows: int = 40, columns: int = 60) -> torch.Tensor:
    clip = torch.zeros(num_frames, 1, rows, columns)
    for index in range(num_frames):
        clip[index, 0, 8:24, 4 * index : 4 * index + 20] = 1.0
    return clip


def infer(clip: torch.Tensor, network: nn.Module | None = None, **options) -> torch.Tensor:
    return ClipInferer(**{"image_size": 60, "progress": False, **options})(clip, network or BrightAndDark())


def test_masks_lie_where_the_structure_is_in_the_original_frame():
    clip = square_clip()
    masks = infer(clip)
    assert masks.dtype == torch.bool
    assert torch.equal(masks[:, :1], clip > 0.5)
    assert torch.equal(masks[:, 1:], clip < 0.5)


@pytest.mark.parametrize(("rows", "columns", "image_size"), [(40, 60, 30), (60, 40, 30), (40, 60, 120), (33, 47, 64)])
def test_masks_have_the_clips_size_and_place_whatever_the_networks_size(rows, columns, image_size):
    clip = square_clip(rows=rows, columns=columns)
    masks = infer(clip, image_size=image_size)
    assert masks.shape == (5, 2, rows, columns)
    union = (masks[:, :1] | (clip > 0.5)).sum()
    assert (masks[:, :1] & (clip > 0.5)).sum() / union > 0.85


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
def test_the_mini_batch_changes_memory_but_not_the_masks(batch_size):
    clip, network = square_clip(), BrightAndDark()
    assert torch.equal(infer(clip, network, batch_size=batch_size), infer(clip, batch_size=3))
    assert max(batch[0] for batch in network.batches) == min(batch_size, 5)
    assert sum(batch[0] for batch in network.batches) == 5


def test_a_leading_batch_axis_of_one_is_kept():
    clip = square_clip()
    assert torch.equal(infer(clip[None]), infer(clip)[None])


def test_the_threshold_is_a_probability():
    clip = torch.full((1, 1, 8, 8), 0.5 + 0.02)  # logit 0.4, probability 0.599
    assert infer(clip, image_size=8, threshold=0.59)[0, 0].all()
    assert not infer(clip, image_size=8, threshold=0.61)[0, 0].any()


def test_no_gradient_is_recorded():
    network = BrightAndDark()
    assert not infer(square_clip(), network).requires_grad


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (5, 8, 8), (2, 5, 1, 8, 8)])
def test_other_shapes_than_one_grayscale_clip_are_refused(shape):
    with pytest.raises(ValueError, match=r"clip must be \(T, 1, H, W\) or \(1, T, 1, H, W\)"):
        infer(torch.zeros(shape))


def test_a_clip_without_frames_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        infer(torch.zeros(0, 1, 8, 8))


def test_nan_from_the_network_names_the_frames():
    clip = square_clip()
    clip[3] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity for frames 2 to 3: check its weights"):
        infer(clip, batch_size=2)


def test_a_network_that_returns_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"must return logits \(5, S, 60, 60\), got \(5, 2, 30, 30\)"):
        ClipInferer(60, progress=False)(square_clip(), lambda frames: torch.zeros(5, 2, 30, 30))


def test_masks_that_do_not_fit_into_memory_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=1000))
    with pytest.raises(MemoryError, match=r"masks \(5, 2, 40, 60\) need .* GiB are free: cut the clip"):
        infer(square_clip())


@pytest.mark.parametrize("threshold", [0.0, 1.0, 50])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be a probability between 0 and 1"):
        ClipInferer(64, threshold=threshold)


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="must be positive, got 64 and 0"):
        ClipInferer(64, batch_size=0)


def test_the_shape_of_pixels_comes_from_the_meta_data_and_a_word_goes_before_it():
    clip, shapes = square_clip(rows=40, columns=60), []

    def network(frames: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(int(x.max()) + 1 for x in frames[0, 0].nonzero().T))
        return frames

    noted = MetaTensor(torch.ones_like(clip)[None], meta={"pixel_aspect": torch.tensor([1.5])})  # as collated
    inferer = ClipInferer(60, progress=False)
    for inputs, options in [(torch.ones_like(clip), {}), (noted, {}), (noted, {"pixel_aspect": 0.75})]:
        assert inferer(inputs, network, **options).shape[-2:] == (40, 60)
    assert shapes == [(40, 60), (60, 60), (30, 60)]


def test_a_shape_that_no_pixel_has_is_refused():
    with pytest.raises(ValueError, match="pixel_aspect must be a pixel's height divided by its width, above 0, got 0"):
        ClipInferer(60, progress=False)(square_clip(), BrightAndDark(), pixel_aspect=0.0)


def test_only_the_field_of_view_is_looked_at_and_masks_lie_in_the_whole_frame():
    clip, network = square_clip(rows=80, columns=120), BrightAndDark()
    window = (4, 44, 0, 60)
    masks = infer(MetaTensor(clip, meta={"field_of_view": window}), network)
    assert network.batches == [(5, 1, 60, 60)]
    assert masks.shape == (5, 2, 80, 120)
    assert torch.equal(masks[:, :1], clip > 0.5)  # at 60 / 60 nothing is resized
    inside = torch.zeros(80, 120, dtype=torch.bool)
    inside[4:44, 0:60] = True
    assert torch.equal(masks[:, 1:], (clip < 0.5) & inside)
