"""Statistics from the store equal those of the features themselves, and spare ``fit_standardizers`` the teachers."""

import pytest
import torch

from bundle.losses.fit import fit_standardizers
from bundle.losses.standardize import PhiS
from bundle.losses.statistics import FeatureStatistics
from bundle.store.shard import StoreError
from bundle.store.statistics import save_stored_statistics, stored_statistics
from bundle.store.views import as_float
from tests.store.conftest import items

pytestmark = pytest.mark.filterwarnings("ignore:statistics of:UserWarning")


def measured(stage, views, name) -> FeatureStatistics:
    """Statistics of a live teacher over the distinct training views."""
    teacher = stage.teachers[name]
    statistics = FeatureStatistics(teacher.embed_dim, views.features[name].teacher.address)
    distinct = {item["image"].numpy().tobytes(): item for item in items(views)}
    for item in distinct.values():
        features = teacher(as_float(item["image"])[None])
        statistics.update(features, teacher.valid_grid(item["valid"][None]))
    return statistics


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("name", ["loud", "quiet"])
def test_they_are_those_of_the_features_before_they_were_encoded(stage, precision, name):
    stage.options["precision"] = precision
    stage.fill()
    views = stage.views()
    found, expected = stored_statistics(views, stage.teachers)[name], measured(stage, views, name)
    assert (found.num_tokens, found.num_images) == (expected.num_tokens, expected.num_images)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-5, atol=1e-5)


def test_padding_is_left_out(filled):
    views = filled.views()
    found = stored_statistics(views, filled.teachers)["loud"]
    assert found.num_tokens < 16 * found.num_images


def test_a_shorter_data_list_is_measured_from_what_is_stored(filled):
    filled.options["num_views"] = 2  # half of each shard, or less
    views = filled.views()
    found, expected = stored_statistics(views, filled.teachers)["loud"], measured(filled, views, "loud")
    assert found.num_tokens == expected.num_tokens
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-3, atol=1e-3)


def test_ranks_give_the_statistics_of_one_process_to_1e_10(filled, tmp_path):
    expected = stored_statistics(filled.views(), filled.teachers)
    filled.folder = tmp_path / "other"
    for rank in range(2):
        filled.fill(rank=rank, num_ranks=2)
    found = stored_statistics(filled.views(), filled.teachers)
    for name in expected:
        torch.testing.assert_close(found[name].covariance, expected[name].covariance, rtol=1e-10, atol=1e-10)


def test_fit_standardizers_runs_no_teacher(filled, tmp_path):
    views = filled.views()
    seen = filled.teachers["loud"].num_frames
    path = save_stored_statistics(views, filled.teachers, tmp_path / "statistics.safetensors", "frames")
    standardizers = fit_standardizers(filled.teachers, [], PhiS, path, frames_id="frames")
    assert filled.teachers["loud"].num_frames == seen
    assert torch.equal(standardizers["loud"].mean, stored_statistics(views, filled.teachers)["loud"].mean.float())


def test_damaged_statistics_are_refused(filled):
    views = filled.views()
    folder = views.features["loud"].table.folder
    path = folder / views.features["loud"].table.names[0]
    mean = views.features["loud"].table.shard(0).extra()["mean"].numpy().tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(mean) + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"the statistics in .*safetensors are damaged: delete this file, then run"):
        stored_statistics(filled.views(), filled.teachers)
