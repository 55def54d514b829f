"""Views: the same in every process and order, known by an address that changes with what they depend on."""

import os

import pytest
import torch
from monai.transforms import RandAdjustContrastd

from bundle.store.views import ViewRecipe, as_float, describe_transform, file_fingerprint, pack_valid, unpack_valid
from bundle.transforms.affine import RandAffineFramed

FRAME = {"image": torch.linspace(0, 1, 256).reshape(1, 16, 16), "valid": torch.ones(1, 16, 16)}


def affine(**settings) -> RandAffineFramed:
    return RandAffineFramed(["image", "valid"], mode=["bilinear", "nearest"], **{"prob": 1.0, **settings})


def recipe(random=(), seed=0) -> ViewRecipe:
    return ViewRecipe([], random, seed)


def test_view_0_is_the_frame_in_8_bits():
    view = recipe([affine()]).render(FRAME, b"frame", 0)
    assert view.image.dtype == torch.uint8
    assert (as_float(view.image) - FRAME["image"]).abs().max() <= 0.5 / 255 + 1e-6


def test_a_view_is_the_same_whatever_was_drawn_before():
    first = recipe([affine(), RandAdjustContrastd("image", prob=0.5)])
    expected = first.render(FRAME, b"frame", 2)
    for view in (5, 1, 0):
        first.render(FRAME, b"other", view)
    assert torch.equal(first.render(FRAME, b"frame", 2).image, expected.image)
    assert torch.equal(first.render(FRAME, b"frame", 2).valid, expected.valid)


def test_views_frames_and_seeds_differ():
    images = [
        recipe([affine()], seed).render(FRAME, content, view).content
        for seed, content, view in [(0, b"frame", 1), (0, b"frame", 2), (0, b"other", 1), (1, b"frame", 1)]
    ]
    assert len(set(images)) == 4


def test_an_address_changes_with_the_settings_and_not_with_what_was_drawn():
    contrast = RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.4))
    before = describe_transform(contrast)
    contrast(FRAME)
    assert describe_transform(contrast) == before
    assert describe_transform(RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.5))) != before
    assert describe_transform(RandAdjustContrastd("image", prob=0.6, gamma=(0.7, 1.4))) != before
    one, other = recipe([affine(degrees=10)]), recipe([affine(degrees=11)])
    assert one.view_key(b"frame", 1) != other.view_key(b"frame", 1)
    assert one.view_key(b"frame", 0) == other.view_key(b"frame", 0)  # not augmented


def test_a_source_is_known_by_its_file_and_what_the_data_list_says_of_it(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    entry = {"image": tmp_path / "a.png", "clip": "a", "frame": 0, "patient": "p"}
    one = recipe()
    key = one.source_key(entry, file_fingerprint(tmp_path / "a.png"))
    assert key == one.source_key({**entry, "patient": "q"}, file_fingerprint(tmp_path / "a.png"))
    assert key != one.source_key({**entry, "frame": 1}, file_fingerprint(tmp_path / "a.png"))
    assert key != one.source_key({**entry, "pixel_spacing_mm": (1.0, 2.0)}, file_fingerprint(tmp_path / "a.png"))
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert key != one.source_key(entry, file_fingerprint(tmp_path / "a.png"))
    assert file_fingerprint(tmp_path) == file_fingerprint(tmp_path / "a.png")


@pytest.mark.parametrize("size", [16, 5])
def test_valid_regions_are_kept_as_bits(size):
    valid = (torch.rand(1, size, size, generator=torch.Generator().manual_seed(0)) > 0.5).byte()
    assert torch.equal(unpack_valid(pack_valid(valid), size), valid)
