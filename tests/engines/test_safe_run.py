"""One part of a config keeps a training safe: it goes on where it was, and says what it left out."""

from pathlib import Path

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.transforms import Compose, RandGaussianNoised
from torch import nn

from bundle.engines.handlers import shared
from bundle.engines.optimizer import WeightAverage, warmup_cosine
from bundle.engines.safe_run import SafeRun
from bundle.engines.sampler import resumable_loader

CPU = torch.device("cpu")
FRAMES = [
    {"image": torch.full((1, 2, 2), index / 8), "label": index, "clip": "c", "frame": index} for index in range(8)
]


class Training:
    """Four epochs of four steps each, with a generator of its own."""

    def __init__(self, folder: Path, stop_after: int | None = None, frames=FRAMES) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
        self.generator = torch.Generator().manual_seed(3)
        transform = Compose([RandGaussianNoised("image", prob=1.0)])
        loader = resumable_loader(Dataset(frames, transform), transform, batch_size=2)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.1)
        evaluator = SupervisedEvaluator(CPU, DataLoader(FRAMES), self.network, prepare_batch=prepare)
        parts = {
            "network": self.network,
            "loss": nn.MSELoss(),
            "optimizer": optimizer,
            "schedule": warmup_cosine(optimizer, loader, epochs=4),
            "average": WeightAverage(self.network, decay=0.5),
            "draws": self.generator,
        }
        self.safe = SafeRun(folder, parts, loader, evaluator, "1 steps", gradient_clip=1.0)
        self.folder, self.stop_after = folder, stop_after
        self.trainer = SupervisedTrainer(
            CPU,
            4,
            loader,
            self.network,
            optimizer,
            lambda pred, target: (pred[:, 0] - target).square().mean() + torch.rand(1, generator=self.generator)[0],
            prepare_batch=prepare,
            train_handlers=[shared(self.safe)],
            decollate=False,
        )
        self.trainer.add_event_handler("ITERATION_COMPLETED", self._ask)

    def _ask(self, engine) -> None:
        if engine.state.iteration == self.stop_after:
            self.folder.mkdir(exist_ok=True)
            (self.folder / "stop").touch()

    def run(self) -> "Training":
        self.safe.train(self.trainer)
        return self


def prepare(batch, *_, **__):
    return batch["image"].float(), batch["label"].float() / 8


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    whole = Training(tmp_path / "whole").run()
    with pytest.raises(SystemExit, match="75"):
        Training(tmp_path / "stopped", stop_after=6).run()
    resumed = Training(tmp_path / "stopped").run()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
    assert torch.equal(whole.generator.get_state(), resumed.generator.get_state())


def test_the_schedule_rises_and_falls_over_all_steps(tmp_path):
    training = Training(tmp_path).run()
    assert training.trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-8)


def test_a_loss_that_is_not_finite_stops_it(tmp_path):
    broken = [{**frame, "label": float("nan")} for frame in FRAMES]
    with pytest.raises(ValueError, match="the loss is nan at step 1"):
        Training(tmp_path, frames=broken).run()
