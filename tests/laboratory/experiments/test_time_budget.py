"""A time budget shapes the learning rate by elapsed time and ends the run."""

import pytest
import torch
from ignite.engine import Engine

from bundle.laboratory.experiments import time_budget
from bundle.laboratory.experiments.time_budget import TimeBudget


@pytest.fixture
def clock(monkeypatch):
    """Time that passes one second per step."""
    now = {"seconds": 0.0}
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: now["seconds"])
    return now


def test_the_rate_rises_then_falls_to_zero_when_the_time_is_over(clock):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    rates = []

    def step(_engine, _batch):
        rates.append(optimizer.param_groups[0]["lr"])
        clock["seconds"] += 1

    engine = Engine(step)
    TimeBudget(optimizer, seconds=20, warmup=0.2).attach(engine)
    engine.run(range(1000), max_epochs=1)
    assert len(rates) == 20
    assert max(rates) == pytest.approx(2.0)
    assert rates.index(max(rates)) == 4
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.05


def test_no_time_is_refused():
    with pytest.raises(ValueError, match="must be positive, got 0"):
        TimeBudget(torch.optim.SGD([torch.zeros(1)], lr=1.0), seconds=0)
