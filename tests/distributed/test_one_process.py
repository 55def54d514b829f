"""The same parts in a run that is one process, and what they refuse."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from bundle.engines.batch_norm import BatchNormOverRanks, share_batch_statistics
from bundle.engines.distributed import data_parallel, start_processes
from bundle.engines.validation import DealtBatches
from bundle.ranks import gather_in_turn


def test_a_start_without_torchrun_says_how_to_start(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match=r"started by torchrun .*RANK.*: not set here"):
        start_processes(torch.device("cpu"))


def test_a_single_process_trains_the_network_itself():
    network = nn.Conv2d(1, 2, 1)
    assert data_parallel(network) is network


def test_shared_batch_norm_keeps_names_parameters_and_results():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.3)).eval()
    state, frames = network.state_dict(keep_vars=True), torch.rand(2, 1, 8, 8)
    expected = network(frames)
    shared = share_batch_statistics(network)
    assert isinstance(shared[1], BatchNormOverRanks)
    assert not shared[1].training
    assert all(value is state[name] for name, value in shared.state_dict(keep_vars=True).items())
    torch.testing.assert_close(shared(frames), expected)


def test_batch_norms_that_cannot_be_shared_on_a_cpu_are_refused():
    with pytest.raises(ValueError, match=r"nn\.BatchNorm2d only, got BatchNormAct2d: take another student"):
        share_batch_statistics(nn.Sequential(BatchNormAct2d(3)))


def test_one_process_evaluates_all_batches_in_order():
    assert list(DealtBatches(range(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="at least one frame, got none"):
        DealtBatches([], batch_size=2)


def test_a_batch_that_two_processes_evaluated_counts_once():
    assert gather_in_turn([("a", 1.0), ("b", 2.0), ("a", 1.0)]) == [1.0, 2.0]
