"""The memory's own config, on a tiny synthetic data set: trains, saves what a tracker loads, and goes on."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from bundle.atomic import write_json
from bundle.segmentation.prompting import Prompt
from bundle.segmentation.propagation import track_clip
from bundle.segmentation.sam2 import load_tracker
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def segmenter(tmp_path) -> Segmenter:
    torch.manual_seed(0)
    segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), STRUCTURES, image_size=64).eval()
    torch.save(segmenter.state_dict(), tmp_path / "model.pt")
    write_json(tmp_path / "model.json", segmenter.settings)
    return segmenter


def train(folder: Path, epochs: int) -> ConfigWorkflow:
    workflow = ConfigWorkflow(
        config_file=[str(ROOT / "configs" / name) for name in ("train.json", "train_memory.json", "smoke.json")],
        meta_file=str(ROOT / "configs" / "metadata.json"),
        logging_file=False,
        run_id="training",
        workflow_type="train",
        bundle_root=str(ROOT),
        output_dir=str(folder / "memory"),
        dataset_dir=str(folder / "data"),
        checkpoint=str(folder / "model.pt"),
        clip_length=2,
        max_step=1,
        epochs=epochs,
        checkpoint_every="1 steps",
        **{"datalist::num_hard_train": 1},
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    return workflow


def test_the_memory_is_trained_saved_resumed_and_loaded(tmp_path, segmenter, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    train(tmp_path, epochs=1)
    first = torch.load(tmp_path / "memory" / "memory.pt", weights_only=True)
    train(tmp_path, epochs=2)
    second = torch.load(tmp_path / "memory" / "memory.pt", weights_only=True)
    assert "resuming after step 1 of 2" in capsys.readouterr().out + capsys.readouterr().err
    assert any(not torch.equal(value, second[name]) for name, value in first.items())
    tracker = load_tracker(segmenter, tmp_path / "memory" / "memory.pt")
    clip = torch.rand(3, 1, 48, 48)
    names, masks = track_clip(segmenter, tracker, clip, [Prompt("bolus", 0, box=(4, 4, 30, 30))])
    assert names == ["bolus"]
    assert masks.shape == (3, 1, 48, 48)
