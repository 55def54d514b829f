"""Masks at the film's resolution from small logits: where they land, against PyTorch's own interpolation."""

import pytest
import torch
import torch.nn.functional as F

from bundle.inference.runtimes.enlarge import MaskEnlarger
from bundle.transforms.letterbox import LetterboxGeometry

GRID, SIZE = 16, 64


def blobs(num_frames: int = 3, num_structures: int = 4) -> torch.Tensor:
    """Logits as a network gives them: some regions above 0, most of the frame far below."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(num_frames, num_structures, GRID, GRID, generator=generator)
    return F.avg_pool2d(noise, 5, stride=1, padding=2) * 10 - 1.5


def by_grid_sample(logits: torch.Tensor, geometry: LetterboxGeometry) -> torch.Tensor:
    """Another implementation: every pixel's center looked up on the grid."""
    rows = (torch.arange(geometry.rows) + 0.5) * geometry.content_rows / geometry.rows / geometry.size * 2 - 1
    columns = (torch.arange(geometry.columns) + 0.5) * geometry.content_columns / geometry.columns / SIZE * 2 - 1
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([x, y], dim=-1).expand(len(logits), -1, -1, -1)
    return F.grid_sample(logits, grid, mode="bilinear", padding_mode="border", align_corners=False)


def test_a_film_of_the_networks_size_gets_the_masks_of_the_full_size_logits():
    logits = blobs()
    expected = F.interpolate(logits, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    masks = MaskEnlarger(LetterboxGeometry(SIZE, SIZE, SIZE), GRID)(logits)
    assert masks.dtype == torch.bool
    assert 0.02 < masks.float().mean() < 0.5
    assert torch.equal(masks, expected > 0)


@pytest.mark.parametrize(
    ("rows", "columns", "pixel_aspect"), [(92, 151, 1.0), (151, 92, 1.0), (33, 47, 1.0), (48, 72, 1.5), (48, 72, 0.75)]
)
def test_masks_lie_where_each_pixels_center_lies_on_the_grid(rows, columns, pixel_aspect):
    geometry, logits = LetterboxGeometry(rows, columns, SIZE, pixel_aspect), blobs()
    values = by_grid_sample(logits, geometry)
    masks = MaskEnlarger(geometry, GRID)(logits)
    assert masks.shape == (3, 4, rows, columns)
    is_clear = values.abs() > 1e-4
    assert is_clear.float().mean() > 0.999
    assert torch.equal(masks[is_clear], values[is_clear] > 0)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_the_threshold_is_a_probability(threshold):
    logits = blobs()
    expected = F.interpolate(logits, size=(SIZE, SIZE), mode="bilinear").sigmoid() > threshold
    masks = MaskEnlarger(LetterboxGeometry(SIZE, SIZE, SIZE), GRID, threshold)(logits)
    assert (masks != expected).float().mean() < 1e-4


def test_a_structure_that_is_nowhere_has_no_pixel_and_one_that_is_everywhere_has_all():
    logits = torch.stack([torch.full((GRID, GRID), -3.0), torch.full((GRID, GRID), 3.0)])[None]
    masks = MaskEnlarger(LetterboxGeometry(30, 50, SIZE), GRID)(logits)
    assert not masks[0, 0].any()
    assert masks[0, 1].all()


def test_what_lies_in_the_padding_alone_is_not_in_the_film():
    logits = torch.full((1, 1, GRID, GRID), -3.0)
    logits[..., -1, :] = 3.0
    assert not MaskEnlarger(LetterboxGeometry(20, 60, SIZE), GRID)(logits).any()


def test_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"logits must be \(B, S, 16, 16\), got \(1, 2, 8, 8\)"):
        MaskEnlarger(LetterboxGeometry(20, 60, SIZE), GRID)(torch.zeros(1, 2, 8, 8))


def test_a_threshold_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="threshold must be a probability between 0 and 1, got 1"):
        MaskEnlarger(LetterboxGeometry(20, 60, SIZE), GRID, threshold=1)
