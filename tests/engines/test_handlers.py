"""Handlers stop a broken run with the frames to look at, clip gradients, and log what a step knows."""

import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from bundle.engines.handlers import EvaluationReport
from bundle.engines.optimizer import GradientClipping
from bundle.engines.prepare_batch import prepare_evaluation_batch
from bundle.engines.safe_run import StopOnNonFiniteLoss

FRAMES = [
    {
        "image": torch.full((1, 8, 8), float(index)),
        "label": torch.ones(1, 8, 8),
        "valid": torch.ones(1, 8, 8),
        "patient": f"p{index}",
        "clip": f"clip{index}",
        "frame": index,
        "pixel_spacing_mm": torch.tensor([0.5, 0.5]),
    }
    for index in range(2)
]


class Constant(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, image):
        return self.factor * torch.ones_like(image)


def trainer_of(network: nn.Module, loss, handlers: list, lr: float = 0.1) -> SupervisedTrainer:
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(FRAMES, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        loss_function=loss,
        train_handlers=handlers,
        decollate=False,
    )


def test_a_loss_that_is_not_finite_stops_the_run_and_names_clips_and_frames():
    network = Constant(1.0)
    trainer = trainer_of(network, lambda pred, _: pred.mean() * float("nan"), [StopOnNonFiniteLoss()])
    with pytest.raises(ValueError, match=r"the loss is nan at step 1 \(clip:frame clip0:0, clip1:1\)"):
        trainer.run()


@pytest.mark.parametrize("is_saved", [True, False])
def test_a_stopped_run_names_the_last_good_checkpoint(tmp_path, is_saved):
    if is_saved:
        (tmp_path / "last.pt").touch()
    network = Constant(1.0)
    stop = StopOnNonFiniteLoss(tmp_path / "last.pt")
    trainer = trainer_of(network, lambda pred, _: pred.mean() * float("nan"), [stop])
    words = f"the last good checkpoint is {tmp_path / 'last.pt'}:" if is_saved else "no checkpoint has been saved yet:"
    with pytest.raises(ValueError, match=words):
        trainer.run()


def test_gradients_are_no_longer_than_allowed():
    network = Constant(1.0)
    trainer_of(network, lambda pred, _: 100 * pred.mean(), [GradientClipping(max_norm=0.5)], lr=1.0).run()
    assert network.factor.item() == pytest.approx(1.0 - 0.5, abs=1e-4)


@pytest.mark.parametrize(("logit", "dice"), [(5.0, 1.0), (-5.0, 0.0)])
def test_an_evaluation_gives_its_table_and_metrics(tmp_path, logit, dice):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(FRAMES, batch_size=2),
        network=Constant(logit),
        prepare_batch=prepare_evaluation_batch,
        val_handlers=[EvaluationReport(["hyoid"], tmp_path)],
        decollate=False,
    )
    evaluator.run()
    assert evaluator.state.metrics["dice_hyoid"] == dice
    assert (tmp_path / "metrics.json").is_file()


def test_masks_on_padding_do_not_count(tmp_path):
    frames = [{**frame, "valid": torch.zeros(1, 8, 8)} for frame in FRAMES]
    report = EvaluationReport(["hyoid"], tmp_path)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(frames, batch_size=2),
        network=Constant(5.0),
        prepare_batch=prepare_evaluation_batch,
        val_handlers=[report],
        decollate=False,
    )
    assert isinstance(evaluator, Engine)
    evaluator.run()
    assert report.table.summary()["missed_rate"]["hyoid"] == 1.0
