"""Frames come in an order, and with augmentations, that depend on seed and epoch alone."""

import pickle

import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, RandGaussianNoised, RandScaleIntensityd

from bundle.data.clip import UnreadableStudyError
from bundle.engines.sampler import EpochIndex, EpochSampler, SeededDataset, item_seed

ITEMS = [{"image": torch.full((1, 2, 2), float(index)), "index": index} for index in range(10)]


def order(sampler: EpochSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return [int(index) for index in sampler]


def test_every_epoch_has_its_own_order_of_all_items():
    sampler = EpochSampler(ITEMS)
    first, second = order(sampler, 1), order(sampler, 2)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert order(EpochSampler(ITEMS), 1) == first
    assert order(EpochSampler(ITEMS, seed=5), 1) != first


def test_a_start_in_the_middle_goes_on_with_the_rest_and_then_with_whole_epochs():
    uninterrupted, resumed = EpochSampler(ITEMS), EpochSampler(ITEMS)
    resumed.start_at(epoch=3, position=4)
    assert order(resumed, 3) == order(uninterrupted, 3)[4:]
    assert order(resumed, 4) == order(uninterrupted, 4)
    assert len(resumed) == 10  # an epoch's length, wherever it starts


def test_processes_take_disjoint_shares_of_equal_length():
    shares = [order(EpochSampler(ITEMS, rank=rank, world_size=3), 5) for rank in range(3)]
    assert [len(share) for share in shares] == [3, 3, 3]
    assert len(set().union(*shares)) == 9


def test_more_processes_than_frames_are_refused():
    with pytest.raises(
        ValueError, match=r"batch of 1 in each of 4 processes, .* has 3 to train on: give at most 3 proc"
    ):
        EpochSampler(ITEMS[:3], rank=0, world_size=4)


def test_fewer_frames_than_a_batch_are_refused_with_both_numbers_and_the_remedy():
    with pytest.raises(
        ValueError, match="a batch of 8, but the data list has 3 to train on: give --batch_size 3 or less"
    ):
        EpochSampler(ITEMS[:3], batch_size=8)
    with pytest.raises(
        ValueError, match=r"batch of 4 in each of 3 processes, .* has 10 .*: give --batch_size 3 or less"
    ):
        EpochSampler(ITEMS, rank=1, world_size=3, batch_size=4)
    assert len(EpochSampler(ITEMS, rank=1, world_size=3, batch_size=3)) == 3


@pytest.mark.parametrize("where", [1, 2])
def test_a_programming_error_is_never_taken_for_an_unreadable_frame(where):
    """Also after a frame that really is unreadable."""
    dataset = [{"index": index} for index in range(3)]

    class Spoilt(list):
        def __getitem__(self, index):
            if index == where:
                raise KeyError("no such transform")
            raise UnreadableStudyError("film.avi", "cut off")

    with pytest.raises(KeyError, match="no such transform"):
        SeededDataset(Spoilt(dataset), Compose([RandGaussianNoised("image")]))[EpochIndex(0, epoch=1)]


def test_an_index_keeps_its_epoch_on_the_way_to_a_worker():
    index = pickle.loads(pickle.dumps(EpochIndex(7, epoch=3)))
    assert index == 7
    assert index.epoch == 3


@pytest.mark.parametrize("kind", [Dataset, CacheDataset])
def test_augmentation_depends_on_neither_workers_nor_what_came_before(kind):
    whole = epoch_of(kind, num_workers=0, start=0)
    assert all(torch.equal(a, b) for a, b in zip(whole, epoch_of(kind, num_workers=2, start=0), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], epoch_of(kind, num_workers=0, start=4), strict=True))
    assert not any(
        torch.equal(a, b) for a, b in zip(whole, epoch_of(kind, num_workers=0, start=0, seed=1), strict=True)
    )


def epoch_of(kind: type, num_workers: int, start: int, seed: int = 0) -> list[torch.Tensor]:
    transform = Compose(
        [RandScaleIntensityd("image", factors=0.5, prob=0.5), RandGaussianNoised("image", prob=0.9, std=0.1)]
    )
    options = {"progress": False} if kind is CacheDataset else {}
    dataset = kind(ITEMS, transform, **options)
    sampler = EpochSampler(ITEMS)
    sampler.start_at(epoch=2, position=start)
    loader = DataLoader(SeededDataset(dataset, transform, seed), sampler=sampler, batch_size=2, num_workers=num_workers)
    return [batch["image"] for batch in loader]


def test_the_same_item_is_augmented_differently_in_the_next_epoch():
    assert len({item_seed(0, epoch, index) for epoch in range(20) for index in range(20)}) == 400


def test_a_plain_index_is_refused():
    with pytest.raises(TypeError, match="needs the indices of an EpochSampler"):
        SeededDataset(ITEMS, Compose([]))[0]
