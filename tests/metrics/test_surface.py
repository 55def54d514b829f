"""HD95 against MONAI, against scipy's directed distances, and by hand."""

import warnings

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from scipy.spatial.distance import cdist, directed_hausdorff
from skimage.draw import ellipse, polygon
from skimage.segmentation import find_boundaries

from bundle.metrics.overlap import hausdorff_95


def random_masks(seed: int, frames: int = 3, structures: int = 4, size: int = 48) -> torch.Tensor:
    """Ellipses and polygons; some touch or cross the frame's border."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((frames, structures, size, size), bool)
    for b, s in np.ndindex(frames, structures):
        rows, columns = ellipse(*rng.integers(0, size, 2), *rng.integers(3, 15, 2), shape=(size, size))
        masks[b, s, rows, columns] = True
        rows, columns = polygon(*rng.integers(0, size, (2, 4)), shape=(size, size))
        masks[b, s, rows, columns] = True
    return torch.from_numpy(masks)


def test_a_square_shifted_by_three_columns_is_three_pixels_away_at_its_far_side():
    label = torch.zeros(1, 1, 20, 20)
    label[..., 5:10, 5:10] = 1
    pred = label.roll(3, dims=-1)
    # Of 16 outline pixels, the 5 of the far column are 3 away: well over 5 %.
    assert hausdorff_95(pred, label).item() == 3.0


@pytest.mark.parametrize("spacing", [None, (0.3, 0.3), (0.25, 0.75)])
def test_the_value_is_monais(spacing):
    pred, label = random_masks(0), random_masks(1)
    ours = hausdorff_95(pred, label, None if spacing is None else torch.tensor([spacing] * 3, dtype=torch.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = compute_hausdorff_distance(
            pred, label, include_background=True, percentile=95, spacing=None if spacing is None else [spacing] * 3
        )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_value_is_the_larger_95th_percentile_of_scipys_distances_between_outlines():
    pred, label = random_masks(2, 1, 1), random_masks(3, 1, 1)
    spacing = np.array([0.2, 0.5])
    # Outlines by another library: 4-connected inner boundaries, with no structure beyond the frame.
    outlines = [np.argwhere(find_boundaries(np.pad(m[0, 0], 1), 1, mode="inner")) for m in (pred, label)]
    distances = cdist(outlines[0] * spacing, outlines[1] * spacing)
    expected = max(np.quantile(distances.min(axis=1), 0.95), np.quantile(distances.min(axis=0), 0.95))
    value = hausdorff_95(pred, label, torch.tensor(spacing)[None]).item()
    assert value == pytest.approx(expected, rel=1e-5)
    assert value <= max(directed_hausdorff(outlines[a] * spacing, outlines[1 - a] * spacing)[0] for a in (0, 1))


def test_rows_and_columns_have_their_own_spacing():
    label = torch.zeros(1, 1, 20, 20)
    label[..., 5:10, 5:10] = 1
    spacing = torch.tensor([[0.5, 2.0]])
    assert hausdorff_95(label.roll(3, dims=-2), label, spacing).item() == pytest.approx(3 * 0.5)
    assert hausdorff_95(label.roll(2, dims=-1), label, spacing).item() == pytest.approx(2 * 2.0)


@pytest.mark.parametrize("empty", ["pred", "label", "both"])
def test_an_empty_mask_has_no_distance(empty):
    full, none = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    pred = none if empty in ("pred", "both") else full
    label = none if empty in ("label", "both") else full
    assert hausdorff_95(pred, label).isnan().item()


@pytest.mark.parametrize("spacing", [[0.3, 0.0], [float("nan"), 0.3], [float("inf"), 0.3], [-1.0, 1.0]])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(ValueError, match="pixel_spacing_mm must be positive and finite"):
        hausdorff_95(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4), torch.tensor([spacing]))


def test_a_spacing_per_frame_is_needed():
    with pytest.raises(ValueError, match=r"pixel_spacing_mm must be \(2, 2\).*got \(2,\)"):
        hausdorff_95(torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4), torch.tensor([0.3, 0.3]))
