"""Stored features give what live teachers give; the chest X-ray run is made of the phantom's configs and overlays."""

import json

import pytest
import torch
from torch import nn

from bundle.engines.preflight import check_command
from bundle.engines.prepare_batch import PrepareDistillationBatch
from bundle.engines.stages import Stage
from bundle.laboratory.experiments import lungs
from bundle.laboratory.experiments.lungs import (
    PrepareCachedBatch,
    TeacherFeaturesd,
    fit_stored_standardizers,
    format_lungs,
)
from bundle.losses.fit import fit_statistics
from bundle.losses.standardize import PhiS
from bundle.teachers.base import Teacher


class Encoder(nn.Module):
    """Three random filters on an 8 x 8 grid."""

    input_size, grid_size, embed_dim, mean, std = 32, 8, 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, 3, kernel_size=4, stride=4)

    def forward(self, images):
        return self.filters(images)


@pytest.fixture
def teachers() -> dict[str, Teacher]:
    torch.manual_seed(0)
    return {"toy": Teacher("toy", Encoder(), "random, for a test")}


@pytest.fixture
def frames() -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    valid = torch.ones(1, 32, 32)
    valid[:, :, 24:] = 0
    return [{"image": torch.rand(1, 32, 32, generator=generator), "valid": valid} for _ in range(4)]


def collate(frames: list[dict]) -> dict:
    return {key: torch.stack([torch.as_tensor(frame[key]) for frame in frames]) for key in frames[0]}


def test_stored_features_are_those_of_the_live_teacher(teachers, frames):
    stored = collate([TeacherFeaturesd(teachers)(frame) for frame in frames])
    assert stored["toy"].dtype == torch.float16
    device = torch.device("cpu")
    image, target = PrepareCachedBatch(teachers)(stored, device)
    live_image, live_target = PrepareDistillationBatch(teachers)(collate(frames), device)
    assert torch.equal(image, live_image)
    torch.testing.assert_close(target["features"]["toy"], live_target["features"]["toy"], rtol=1e-3, atol=1e-3)
    assert torch.equal(target["valid"]["toy"], live_target["valid"]["toy"])


@pytest.mark.filterwarnings("ignore:statistics of 'toy' rest on:UserWarning")
def test_standardizers_from_stored_features_are_those_from_live_ones(teachers, frames):
    stored = collate([TeacherFeaturesd(teachers)(frame) for frame in frames])
    from_stored = fit_stored_standardizers(teachers, [stored], PhiS.from_statistics)["toy"]
    from_live = PhiS.from_statistics(fit_statistics(teachers, [collate(frames)])["toy"])
    features = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(from_stored(features).norm(), from_live(features).norm(), rtol=1e-2, atol=0)


def test_every_stage_uses_configs_and_keys_that_exist(tmp_path):
    weights = {"lite_medsam_checkpoint": tmp_path / "a.pth", "efficientnet_lite0_checkpoint": tmp_path / "b.pth"}
    stages = lungs.lung_stages(tmp_path, weights)
    for name, overlay in lungs.BASELINES.items():
        stages += lungs.lung_baseline_stages(name, overlay, tmp_path, tmp_path / "baseline", 60.0)
    assert len(stages) == 7
    for stage in stages:
        check_command(stage.command()[2:])


def test_baselines_get_the_time_of_both_phases_and_a_finished_one_is_not_repeated(tmp_path, monkeypatch):
    report = {
        "data": "real",
        "patients": {"training": 2, "validation": 1, "test": 1},
        "seconds": 100.0,
        "cpu_minutes": 3.0,
        "peak_memory_gb": 1.0,
        "seconds_per_stage": {lungs.DISTILLATION: 40.0, lungs.TRAINING: 30.0},
        "models": {lungs.DISTILLED: {"dice": 0.9, "hd95": 4.0, "unit": "pixels"}},
    }
    (tmp_path / lungs.REPORT).write_text(json.dumps(report))
    run: list[Stage] = []

    def pretend(stages: list[Stage]) -> dict[str, float]:
        run.extend(stages)
        folder = (
            tmp_path
            / "baseline"
            / ("unet" if "laboratory/overlays/unet.json" in stages[0].configs else "no_distillation")
            / "evaluate"
        )
        folder.mkdir(parents=True)
        metrics = {"mean_dice": 0.8, "mean_hd95": 5.0, "unit": "pixels"}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return {}

    monkeypatch.setattr(lungs, "run_stages", pretend)
    first = lungs.run_lung_baselines(tmp_path)
    assert [stage.overrides["seconds"] for stage in run if stage.run_id == "training"] == [70.0, 70.0]
    assert lungs.run_lung_baselines(tmp_path) == first
    assert len(run) == 4
    assert "MONAI BasicUNet" in format_lungs(first)


def test_baselines_before_the_run_itself_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no lungs.json in .*: distill and train first, with run_lungs"):
        lungs.run_lung_baselines(tmp_path)
