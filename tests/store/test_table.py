"""Entries by address: over several shards, in several processes, after damage and after a killed writer."""

import multiprocessing
import os
import pickle
import signal

import pytest
import torch

from bundle.store.digest import digest
from bundle.store.shard import StoreError
from bundle.store.table import Table
from bundle.store.unfinished import locked_name, remove_unfinished

A, B, C = (digest(name) for name in "abc")


@pytest.fixture
def table(tmp_path):
    table = Table(tmp_path / "table")
    table.add([A, B], {"value": torch.tensor([[1.0], [2.0]])}, {"mean": torch.zeros(1)}, {"about": "text"})
    table.add([C], {"value": torch.tensor([[3.0]])})
    return table


def damage(table: Table, key: bytes) -> None:
    number, row = table.locate([key])[0]
    path = table.folder / table.names[number]
    content = bytearray(path.read_bytes())
    start = content.index(table.shard(number).read(row)["value"].numpy().tobytes())
    content[start] ^= 1
    path.write_bytes(content)


def test_entries_of_all_shards_are_found(table):
    again = Table(table.folder)
    assert set(again.keys()) == {A, B, C}
    assert [again.read(key)["value"].item() for key in (A, B, C)] == [1.0, 2.0, 3.0]
    assert again.locate([C, None, digest("unknown")])[1:].tolist() == [[-1, -1], [-1, -1]]


def test_a_process_that_got_the_table_opens_files_of_its_own(table):
    table.read(A)
    assert pickle.loads(pickle.dumps(table)).read(B)["value"].item() == 2.0


def test_a_forked_process_reads_it(table):
    table.read(A)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_value, (table, C)) == 3.0


def _value(table: Table, key: bytes) -> float:
    return table.read(key)["value"].item()


def test_mending_removes_the_damaged_entry_and_keeps_its_neighbor(table):
    damage(table, A)
    assert not table.has_intact(A)
    assert table.has_intact(B)
    assert table.has_intact(C)
    again = Table(table.folder)
    assert set(again.keys()) == {B, C}
    shard = again.shard(again.locate([B])[0][0])
    assert (shard.metadata["about"], shard.extra()) == ("text", {})
    assert len(list(table.folder.iterdir())) == 2


def test_a_damaged_neighbor_is_not_kept_with_a_new_checksum(table):
    damage(table, A)
    damage(table, B)
    assert not table.has_intact(A)
    assert set(Table(table.folder).keys()) == {C}


def test_a_shard_that_cannot_be_opened_is_refused_or_removed(table):
    path = table.folder / table.names[0]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match="no complete shard"):
        Table(table.folder)
    assert set(Table(table.folder, mend=True).keys()) == {C}
    assert not path.exists()


def test_what_a_killed_writer_left_is_removed_and_what_a_live_one_writes_is_not(table):
    context = multiprocessing.get_context("fork")
    writers = []
    for _ in range(2):
        ready = context.Event()
        writer = context.Process(target=_hang_while_writing, args=(table, ready))
        writer.start()
        assert ready.wait(20)
        writers.append(writer)
    os.kill(writers[0].pid, signal.SIGKILL)
    writers[0].join()
    assert len(list(table.folder.glob(".unfinished-*"))) == 4  # a file and a lock each
    assert remove_unfinished(table.folder.parent) == 1
    assert len(list(table.folder.glob(".unfinished-*"))) == 2
    writers[1].kill()
    writers[1].join()
    assert set(Table(table.folder).keys()) == {A, B, C}


def _hang_while_writing(table: Table, ready) -> None:
    with locked_name(table.folder) as temporary:
        temporary.write_bytes(b"half")
        ready.set()
        signal.pause()
