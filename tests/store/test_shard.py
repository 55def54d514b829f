"""A shard is complete or not there, and a changed byte is noticed."""

import resource

import pytest
import torch

from bundle.store.digest import digest
from bundle.store.shard import Shard, StoreError, shard_name, write_shard

KEYS = [digest(name) for name in "abc"]
COLUMNS = {
    "features": torch.arange(3 * 8, dtype=torch.float16).reshape(3, 2, 2, 2),
    "small": torch.arange(15).reshape(3, 5).byte(),
}


@pytest.fixture
def path(tmp_path):
    write_shard(tmp_path / "one.safetensors", KEYS, COLUMNS, {"mean": torch.tensor([0.5])}, {"about": "text"})
    return tmp_path / "one.safetensors"


def test_what_was_written_is_read(path):
    shard = Shard(path)
    assert shard.keys == KEYS
    assert torch.equal(shard.read(1)["features"], COLUMNS["features"][1])
    assert torch.equal(shard.column("small"), COLUMNS["small"])
    assert shard.extra()["mean"] == 0.5
    assert shard.metadata["about"] == "text"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("column", ["features", "small", "keys"])
def test_a_changed_byte_is_noticed_in_its_entry_alone(path, column):
    content = bytearray(path.read_bytes())
    row = {**COLUMNS, "keys": torch.tensor([list(key) for key in KEYS], dtype=torch.uint8)}[column][2]
    content[content.index(row.numpy().tobytes()) + 1] ^= 4
    path.write_bytes(content)
    assert Shard(path).damaged_rows() == [2]
    with pytest.raises(StoreError, match=r"one.safetensors: entry 2 .* is damaged: run configs/cache_features.json"):
        Shard(path).read(2)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StoreError, match=r"one\.safetensors is no complete shard"):
        Shard(path)


def test_another_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"keys": torch.zeros(1, 16).byte(), "crc32": torch.zeros(1).long()}, tmp_path / "other.safetensors")
    with pytest.raises(StoreError, match="must be of format 'feature-store-shard-1', got None"):
        Shard(tmp_path / "other.safetensors")


def test_a_write_that_fails_leaves_nothing_behind(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot write .*two\.safetensors .*before is kept: free some space"):
            write_shard(path.with_name("two.safetensors"), KEYS, {"features": torch.zeros(3, 1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert Shard(path).damaged_rows() == []


def test_two_writers_of_the_same_entries_write_the_same_file():
    assert shard_name(KEYS) == shard_name(list(KEYS)) != shard_name(KEYS[:2])
