"""One random rotation, scaling and shift for everything on a frame's grid."""

import math

import numpy as np
import pytest
import torch
from monai.data import CacheDataset
from monai.transforms import Affine, Compose

from bundle.transforms.affine import AffineDraw, RandAffineFramed, resample, sampling_grid

KEYS = ("image", "label", "valid")
STILL = AffineDraw(degrees=0.0, scale=1.0, shift=(0.0, 0.0))


def frame(size: int = 32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, size, size, generator=generator)
    return {"image": image, "label": (image > 0.5).to(torch.uint8).repeat(3, 1, 1), "valid": torch.ones(1, size, size)}


def moved(mask: torch.Tensor, **values) -> list[list[int]]:
    drawn = AffineDraw(**{"degrees": 0.0, "scale": 1.0, "shift": (0.0, 0.0), **values})
    return resample(mask, sampling_grid(drawn, *mask.shape[1:]), "nearest")[0].nonzero().tolist()


def point(row: int, column: int, rows: int = 9, columns: int = 9) -> torch.Tensor:
    mask = torch.zeros(1, rows, columns, dtype=torch.uint8)
    mask[0, row, column] = 1
    return mask


def test_nothing_drawn_moves_nothing():
    data = frame()
    applied = RandAffineFramed(KEYS).apply(data, STILL)
    for key in KEYS:
        torch.testing.assert_close(applied[key], data[key])


def test_rotation_is_counterclockwise_about_the_center():
    assert moved(point(4, 7), degrees=90.0) == [[1, 4]]  # from the right to the top


def test_rotation_is_in_pixels_also_where_a_frame_is_not_square():
    assert moved(point(4, 10, columns=17), degrees=90.0) == [[2, 8]]  # 2 right of the center to 2 above


def test_shift_is_downwards_and_to_the_right():
    assert moved(point(4, 4), shift=(2 / 9, 1 / 9)) == [[6, 5]]


def test_scale_above_one_magnifies():
    assert len(moved(torch.ones(1, 9, 9, dtype=torch.uint8), scale=1 / 3)) == 9
    assert [4, 8] in moved(point(4, 6), scale=2.0)


def test_image_and_masks_move_together():
    data = frame(64)
    data["image"] = torch.zeros(1, 64, 64)
    data["image"][:, 20:40, 10:30] = 1.0
    data["label"] = data["image"].to(torch.uint8)
    applied = RandAffineFramed(KEYS).apply(data, AffineDraw(degrees=17.0, scale=1.1, shift=(0.05, -0.1)))
    differing = (applied["image"] >= 0.5) != applied["label"].bool()
    assert differing.float().mean() < 0.002  # of 4096 pixels, few on the outline


def test_it_agrees_with_monais_affine():
    image = frame(64)["image"]
    ours = resample(
        image, sampling_grid(AffineDraw(degrees=12.0, scale=1.2, shift=(0.0, 3 / 64)), 64, 64), mode="bilinear"
    )
    # MONAI's matrix takes output positions to input positions, in pixels from the center.
    angle = math.radians(12.0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / 1.2  # rows, columns
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, turn @ [0.0, -3.0]
    theirs = Affine(affine=matrix, padding_mode="zeros", mode="bilinear", image_only=True)(image)
    torch.testing.assert_close(ours, theirs.as_tensor(), atol=2e-4, rtol=0)


def test_types_and_shapes_are_kept():
    data = frame()
    applied = RandAffineFramed(KEYS).apply(data, AffineDraw(degrees=10.0, scale=0.9, shift=(0.1, 0.0)))
    for key in KEYS:
        assert (applied[key].dtype, applied[key].shape) == (data[key].dtype, data[key].shape)
    assert set(applied["label"].unique().tolist()) == {0, 1}
    assert applied["valid"].min() == 0.0


def test_the_same_seed_draws_the_same():
    draws = [[RandAffineFramed(KEYS).set_random_state(seed).draw() for _ in range(1)] for seed in (1, 1, 2)]
    many = RandAffineFramed(KEYS, prob=1.0).set_random_state(1), RandAffineFramed(KEYS, prob=1.0).set_random_state(1)
    assert draws[0] == draws[1]
    assert [many[0].draw() for _ in range(5)] == [many[1].draw() for _ in range(5)]
    assert many[0].draw() != many[0].draw()


def test_draws_stay_in_range():
    transform = RandAffineFramed(KEYS, prob=1.0, degrees=5.0, scale=(0.8, 1.5), shift=0.1).set_random_state(0)
    draws = [transform.draw() for _ in range(200)]
    assert max(abs(drawn.degrees) for drawn in draws) <= 5.0
    assert 0.8 <= min(drawn.scale for drawn in draws) < 0.9
    assert 1.4 < max(drawn.scale for drawn in draws) <= 1.5
    assert 0.09 < max(max(map(abs, drawn.shift)) for drawn in draws) <= 0.1


@pytest.mark.parametrize(("prob", "expected"), [(0.0, 0), (1.0, 50)])
def test_prob_is_the_share_of_changed_frames(prob, expected):
    transform = RandAffineFramed(KEYS, prob=prob).set_random_state(0)
    assert sum(transform.draw() is not None for _ in range(50)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prob": 1.5}, r"prob must be in \[0, 1\], got 1.5"),
        ({"scale": (1.1, 0.9)}, r"scale must be a lowest and a highest magnification above 0, got \(1.1, 0.9\)"),
        ({"degrees": -1.0}, "degrees and shift must not be negative, got -1.0"),
        ({"mode": "cubic"}, 'mode must be "bilinear" or "nearest"'),
    ],
)
def test_wrong_options_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        RandAffineFramed(KEYS, **options)


def test_monais_cache_draws_anew_in_every_epoch():
    dataset = CacheDataset([frame()], Compose([RandAffineFramed(KEYS, prob=1.0)]), progress=False)
    assert not torch.equal(dataset[0]["image"], dataset[0]["image"])
