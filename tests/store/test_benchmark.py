"""The measurements read what they wrote, and tell a good way to store from a bad one."""

import pytest
import torch
from torch import nn

from bundle.store import benchmark_formats, benchmark_precision, benchmark_scale
from bundle.store.benchmark_formats import Bare, Lmdb, Shards, Zarr
from tests.store.conftest import ToyTeacher


@pytest.mark.parametrize("make", [Bare, lambda: Shards(True), lambda: Shards(False), Lmdb, Zarr])
def test_every_format_gives_back_its_entries(make, tmp_path):
    if make in (Lmdb, Zarr):
        pytest.importorskip(make.__name__.lower())
    form = make()
    entries = [benchmark_formats._entry(index) for index in range(2)]
    form.write(tmp_path, entries)
    read = form.reader(tmp_path)
    found = b"".join(memoryview(torch.as_tensor(value).numpy()).cast("B").tobytes() for value in read(1))
    assert found == b"".join(array.tobytes() for array in entries[1].values())


def test_a_synthetic_store_is_read_as_any_other(tmp_path):
    frame = tmp_path / "frame.png"
    frame.write_bytes(b"any")
    benchmark_scale.write_synthetic(tmp_path / "store", benchmark_scale.synthetic_entries(frame, 150))
    cost = benchmark_scale.read_all(tmp_path / "store", frame, 150)
    assert min(cost["open_ms"], cost["read_ms"], cost["read_wall_ms"]) > 0
    assert cost["peak_mib"] >= 0  # none where this process has had as much before


class Mean(nn.Module):
    """A teacher that commutes with flips: local means at three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size, self.grid_size, self.embed_dim = 16, 4, 3

    def forward(self, frames):
        means = nn.functional.avg_pool2d(frames, 4)
        return torch.cat([means, means.square(), 50 * means**3], dim=1)


def test_precision_and_flips_are_told_apart():
    generator = torch.Generator().manual_seed(0)
    fitted, held_out = ([torch.rand(8, 1, 16, 16, generator=generator)] for _ in range(2))
    teachers = {"mean": Mean(), "toy": ToyTeacher(12, seed=1)}
    mean, toy = benchmark_precision.measure_precision(teachers, fitted, held_out)
    assert mean.horizontal_flip < 1e-5
    assert toy.horizontal_flip > 0.5
    assert mean.float16 < min(mean.int8, mean.plain_int8)
    assert mean.float16_bytes - mean.int8_bytes == 3 * 16
