"""The paper's set-up as it stands in its overlay: full-size teachers, TinyViT, 512 x 512, batch 4, within 12 GB.

The weights are random, but in the published formats and read by the code for the real ones.
"""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sam2.build_sam import build_sam2
from torch import nn
from transformers import Dinov2Config, Dinov2Model, SwinConfig, SwinModel

from bundle.engines.stages import Stage
from bundle.paths import ROOT
from bundle.phantom import make_phantom_dataset

pytestmark = pytest.mark.slow

MOST_GIGABYTES = 12


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder as `scripts/download_teachers.py` leaves it."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    (folder / "medsam2").mkdir()
    sam2 = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", ckpt_path=None, device="cpu")
    torch.save({"model": sam2.state_dict()}, folder / "medsam2" / "MedSAM2_latest.pt")
    Dinov2Model(Dinov2Config(image_size=518)).save_pretrained(folder / "rad_dino")
    (folder / "medclip").mkdir()
    SwinModel(SwinConfig()).save_pretrained(folder / "swin")
    medclip = {f"vision_model.model.{k}": v for k, v in load_file(folder / "swin" / "model.safetensors").items()}
    medclip["vision_model.projection_head.weight"] = nn.Linear(768, 512, bias=False).weight.detach()
    torch.save(medclip, folder / "medclip" / "pytorch_model.bin")
    return folder


def test_a_step_with_all_three_full_size_teachers_fits_in_memory(published, tmp_path):
    datalist = make_phantom_dataset(tmp_path / "phantom", 1, 1, 0, size=512, num_frames=4)
    stage = Stage(
        "one step of the paper's phase 1",
        ["distill.json", "paper.json"],
        {
            "datalist": str(datalist),
            "teacher_dir": str(published),
            "output_dir": str(tmp_path / "run"),
            "epochs": 1,
            "statistics_batches": 1,
            "num_workers": 0,
        },
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(stage.command(), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert usage.ru_maxrss * 1024 / 1e9 < MOST_GIGABYTES
    student = torch.load(tmp_path / "run" / "student.pt", weights_only=True)
    assert all(math.isfinite(value.float().sum().item()) for value in student.values())
    assert not any("teacher" in name for name in student)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 4
