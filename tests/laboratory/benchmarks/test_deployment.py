"""The deployment benchmark measures real networks from film to files, and its figures fit together."""

import pytest
import torch

from bundle.laboratory.benchmarks.deployment import OUTPUTS, SAM, Setting, measure_deployment, measure_stages
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

STUDENT = "efficientvit_b0"

pytestmark = pytest.mark.slow


@pytest.fixture
def setting(tmp_path) -> Setting:
    torch.manual_seed(0)
    network = Segmenter(StudentEncoder(TimmTrunk(STUDENT)), STRUCTURES, 64)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    checkpoints = {STUDENT: tmp_path / "model.pt"}
    return Setting(64, (STUDENT,), checkpoints, seconds=0.05, longest_film=4, runtimes=("torch",))


def test_every_network_has_its_speed_and_trained_ones_their_dice(setting):
    rows = measure_deployment(setting)
    assert [row["network"] for row in rows] == [STUDENT, STUDENT, SAM, "MONAI UNet", "MONAI BasicUNet"]
    assert len({tuple(row) for row in rows}) == 1
    for row in rows:
        assert row["ms/frame"] * row["frames/s"] == pytest.approx(1000)
        assert row["in process, frames/s"] > 0
    assert rows[0]["to float32"] == "+0.0000"
    assert rows[2]["Dice"] == "not trained"
    sam = rows[0]["frames/s"] / rows[0]["times SAM 2.1-T"]
    assert [row["frames/s"] / row["times SAM 2.1-T"] for row in rows] == pytest.approx([sam] * len(rows))


def test_the_stages_of_the_preset_end_with_all_of_its_outputs(setting):
    rows = measure_stages(setting, runtime="torch")
    assert [row["stage"] for row in rows][:2] == ["decoding", "letterboxing"]
    assert rows[-1]["stage"] == f"all of it overlapped, with {', '.join(OUTPUTS)}"
    assert all(row["ms/frame"] > 0 for row in rows)
