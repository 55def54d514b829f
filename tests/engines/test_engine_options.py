"""Each engine option does what it is for and nothing else."""

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch import nn

from bundle.engines.amp import MixedPrecision
from bundle.engines.optimizer import GradientClipping, StepSchedule, WeightAverage

CPU = torch.device("cpu")
FRAMES = [{"image": torch.full((1,), float(i)), "label": torch.tensor([2.0 * i])} for i in (1, 2, 3, 4, 5)]


def train(network: nn.Module, handlers=(), lr: float = 0.01, epochs: int = 1, **options) -> SupervisedTrainer:
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    trainer = SupervisedTrainer(
        CPU,
        epochs,
        DataLoader(options.pop("frames", FRAMES), batch_size=options.pop("batch_size", 1)),
        network,
        optimizer,
        nn.functional.mse_loss,
        train_handlers=[make(optimizer) for make in handlers],
        decollate=False,
        **options,
    )
    trainer.run()
    return trainer


def line(weight: float = 1.0) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, weight)
    return network


def test_accumulated_batches_step_like_one_large_batch():
    accumulated, at_once = line(), line()
    train(accumulated, accumulation_steps=4, frames=FRAMES[:4], epochs=3)
    train(at_once, batch_size=4, frames=FRAMES[:4], epochs=3)
    assert accumulated.weight.item() == pytest.approx(at_once.weight.item())
    assert accumulated.weight.item() != 1.0


def test_clipping_limits_the_sum_of_accumulated_gradients():
    network = line()
    clip = lambda _: GradientClipping(max_norm=0.5)  # noqa: E731
    train(network, [clip], lr=1.0, accumulation_steps=5)
    assert network.weight.item() == pytest.approx(1.5)


def test_the_schedule_steps_with_the_optimizer():
    schedules = []

    def schedule(optimizer):
        schedules.append(torch.optim.lr_scheduler.StepLR(optimizer, 1))
        return StepSchedule(schedules[0])

    train(line(), [schedule], accumulation_steps=2, epochs=2)
    assert schedules[0].last_epoch == 2 * 3


def test_the_average_follows_the_weights_after_every_optimizer_step():
    network = line()
    average = WeightAverage(network, decay=0.75)
    seen = []

    class Watch:
        def attach(self, engine):
            engine.add_event_handler("ITERATION_COMPLETED", lambda _: seen.append(network.weight.item()))

    train(network, [lambda _: average, lambda _: Watch()], accumulation_steps=2)
    expected = 1.0
    for weight in (seen[1], seen[3], seen[4]):
        expected = 0.75 * expected + 0.25 * weight
    assert average.network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == seen[-1] != average.network.weight.item()


def test_a_saved_average_goes_on():
    network = line(3.0)
    average = WeightAverage(network, decay=0.9)
    average.load_state_dict(WeightAverage(line(5.0), decay=0.9).state_dict())
    assert average.network.weight.item() == 5.0
    assert network.weight.item() == 3.0


def test_without_decay_the_network_itself_is_validated_and_saved():
    network = line()
    average = WeightAverage(network, decay=0.0)
    train(network, [lambda _: average])
    assert average.network is network
    assert average.state_dict() == {}


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ValueError, match="ema_decay must be at least 0, which is off, and below 1"):
        WeightAverage(line(), decay)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_is_that_of_the_forward_pass_and_not_of_the_weights(precision, dtype):
    network = line()
    inferer = MixedPrecision(precision, CPU)
    assert inferer(torch.ones(2, 1), network).dtype == dtype
    assert not torch.is_autocast_enabled("cpu")
    trainer = train(network, inferer=inferer)
    assert network.weight.dtype == network.weight.grad.dtype == torch.float32
    assert trainer.state.output["loss"].isfinite()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_float16_trains_with_a_gradient_scaler():
    network = line().cuda()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    trainer = SupervisedTrainer(
        torch.device("cuda"),
        2,
        DataLoader(FRAMES, batch_size=1),
        network,
        optimizer,
        nn.functional.mse_loss,
        inferer=MixedPrecision("float16", torch.device("cuda")),
        amp=True,
        amp_kwargs={"enabled": False},
        decollate=False,
    )
    trainer.run()
    assert trainer.scaler.is_enabled()
    assert network.weight.item() != 1.0


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match="float16 needs the gradient scaler of a GPU, got device cpu: use bfloat16"):
        MixedPrecision("float16", CPU)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"training_precision must be one of \('float32', 'bfloat16', 'float16'\)"):
        MixedPrecision("fp16", CPU)
