"""Training from the store: the same loss as with live teachers, every view in its turn, and clear refusals."""

import pickle

import pytest
import torch
from monai.data import DataLoader
from monai.transforms import RandShiftIntensityd

from bundle.engines.prepare_batch import PrepareDistillationBatch, PrepareStoredBatch
from bundle.engines.sampler import EpochIndex, EpochSampler
from bundle.losses.balance import Equal
from bundle.losses.distances import Cosine, MeanSquared, WeightedSum
from bundle.losses.distillation import DistillationLoss
from bundle.losses.standardize import PhiS
from bundle.store.dataset import MOVED
from bundle.store.shard import StoreError
from bundle.store.statistics import stored_statistics
from bundle.store.views import as_float
from bundle.transforms.affine import RandAffineFramed, move_features
from tests.store.conftest import NUM_VIEWS, ToyTeacher, items

CPU = torch.device("cpu")
FEATURE_ERROR = {"float16": 5e-4, "int8": 1e-2}
LOSS_ERROR = {"float16": 1e-4, "int8": 1e-2}


def prepared(stage, views, batch):
    """The batch as training sees it, from the store and with live teachers."""
    stored = PrepareStoredBatch(stage.teachers, views.decoders)(batch, CPU)
    live = PrepareDistillationBatch(stage.teachers)({**batch, "image": as_float(batch["image"])}, CPU)
    return stored, live


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.filterwarnings("ignore:statistics of:UserWarning")
def test_stored_and_live_teachers_give_the_same_loss_on_the_same_batch(stage, precision):
    stage.options["precision"] = precision
    stage.fill()
    views = stage.views()
    batch = next(iter(DataLoader(views, batch_size=8, sampler=EpochSampler(views))))
    (frames, stored), (live_frames, live) = prepared(stage, views, batch)
    assert torch.equal(frames, live_frames)
    assert stored.keys() == live.keys()
    statistics = stored_statistics(views, stage.teachers)
    loss = DistillationLoss(
        {name: PhiS.from_statistics(entry) for name, entry in statistics.items()},
        WeightedSum([MeanSquared(), Cosine()], [1.0, 1.0]),
        Equal(),
    )
    for name in stage.teachers:
        assert torch.equal(stored["valid"][name], live["valid"][name])
        error = (stored["features"][name] - live["features"][name]).std() / live["features"][name].std()
        assert error < FEATURE_ERROR[precision]
    generator = torch.Generator().manual_seed(0)
    random = {name: torch.randn(value.shape, generator=generator) for name, value in live["features"].items()}
    pred = {"features": random, "embedding": torch.zeros(8, 1, 1, 1)}
    torch.testing.assert_close(loss(pred, stored), loss(pred, live), rtol=LOSS_ERROR[precision], atol=0)


def test_features_are_moved_with_their_frame(filled):
    move = RandAffineFramed(["image", "valid"], prob=1.0, degrees=9.0, shift=0.2, mode=["bilinear", "nearest"])
    plain, moving = filled.views(), filled.views(move=move)
    item, same, other = moving[EpochIndex(0, 3)], moving[EpochIndex(0, 3)], moving[EpochIndex(0, 4)]
    assert torch.equal(item["image"], same["image"])
    assert not torch.equal(item[MOVED], other[MOVED])
    batch = next(iter(DataLoader(moving, batch_size=4, sampler=EpochSampler(moving))))
    still = next(iter(DataLoader(plain, batch_size=4, sampler=EpochSampler(plain))))
    _, moved = PrepareStoredBatch(filled.teachers, moving.decoders)(batch, CPU)
    _, before = PrepareStoredBatch(filled.teachers, plain.decoders)(still, CPU)
    for name, features in before["features"].items():
        torch.testing.assert_close(moved["features"][name], move_features(features, batch[MOVED]))
    frames = move_features(as_float(still["image"]), batch[MOVED])
    torch.testing.assert_close(as_float(batch["image"]), frames, atol=1.01 / 255, rtol=0)  # to whole gray values


def test_the_epochs_take_the_views_in_turn(filled):
    views = filled.views()
    seen = [views[EpochIndex(2, epoch)]["image"] for epoch in range(2 * NUM_VIEWS)]
    for epoch in range(NUM_VIEWS):
        assert torch.equal(seen[epoch], seen[epoch + NUM_VIEWS])
    assert len(items(views)) == 10 * NUM_VIEWS


def test_a_plain_index_gets_a_view_at_random_that_follows_from_torchs_seed(filled):
    views = filled.views()
    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        drawn.append([views[2]["image"] for _ in range(8)])
    assert all(torch.equal(one, other) for one, other in zip(*drawn, strict=True))
    assert any(not torch.equal(drawn[0][0], other) for other in drawn[0])


def test_validation_is_not_augmented(filled):
    views = filled.views("validation")
    frame, _ = filled.recipe.frame(filled.entries("validation")[3])
    assert (as_float(views[3]["image"]) - frame["image"]).abs().max() < 0.51 / 255
    assert views[3]["clip"], views[3]["frame"] == ("c", 3)


def test_the_students_own_transforms_follow_from_frame_and_epoch_and_leave_the_teachers_alone(filled):
    shift = RandShiftIntensityd("image", offsets=0.3, prob=1.0)
    plain, shifted = filled.views(), filled.views(student_transforms=[shift])
    first, again, later = (shifted[EpochIndex(1, epoch)] for epoch in (0, 0, NUM_VIEWS))
    assert first["image"].dtype == torch.float32
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], later["image"])
    expected = plain[EpochIndex(1, 0)]
    assert torch.equal(first["features"]["loud"], expected["features"]["loud"])
    assert not torch.allclose(first["image"], as_float(expected["image"]), atol=1e-3)


def test_workers_read_what_the_main_process_reads(filled):
    views = filled.views()
    options = {"batch_size": 5, "num_workers": 1, "multiprocessing_context": "fork", "persistent_workers": True}
    loader = DataLoader(views, sampler=EpochSampler(views), **options)
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        batch = next(iter(loader))
        expected = [views[index] for index in list(loader.sampler)[:5]]
        assert torch.equal(batch["image"], torch.stack([item["image"] for item in expected]))
        for name in filled.teachers:
            assert torch.equal(batch["features"][name], torch.stack([item["features"][name] for item in expected]))
        assert batch["clip"] == [item["clip"] for item in expected]


def test_a_spawned_worker_gets_the_data_set_without_open_files(filled):
    views = filled.views()
    expected = views[EpochIndex(4, 1)]
    item = pickle.loads(pickle.dumps(views))[EpochIndex(4, 1)]
    assert torch.equal(item["image"], expected["image"])
    assert torch.equal(item["features"]["quiet"], expected["features"]["quiet"])


def test_features_of_other_teachers_are_refused_with_those_that_there_are(filled):
    filled.teachers["quiet"] = ToyTeacher(5, seed=8)
    with pytest.raises(StoreError, match=r"no float16 features of teacher 'quiet' .* only of .*'loud' .* as float16"):
        filled.views()


def test_another_precision_than_stored_is_refused(filled):
    with pytest.raises(StoreError, match=r"no int8 features of teacher 'loud' .*: run configs/cache_features"):
        filled.views(precision="int8")
    with pytest.raises(ValueError, match=r"precision must be one of \['float16', 'int8'\], got 'int4'"):
        filled.views(precision="int4")


def test_a_store_that_is_not_there_is_refused(stage):
    with pytest.raises(StoreError, match=r"has no float16 features of teacher 'loud' .*; it is empty: run configs/"):
        stage.views()


def test_more_views_than_stored_are_refused(filled):
    with pytest.raises(StoreError, match=r"10 of 40 views of 10 frames are not in the store .* num_views .*: run conf"):
        filled.views(num_views=NUM_VIEWS + 1)


def test_a_longer_data_list_is_refused_with_the_first_missing_frames(filled):
    entries = [*filled.entries(), *filled.entries("validation")]
    filled.entries = lambda section="training": entries
    with pytest.raises(StoreError, match=r"15 of 45 views of 5 frames .*\(clip:frame c:0, c:1, c:2, …\)"):
        filled.views()
