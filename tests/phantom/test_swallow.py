"""The order of events in a swallow, as physiology has it."""

import numpy as np
import pytest

from bundle.phantom.swallow import UES_END, draw_swallow, state_at


@pytest.fixture(scope="module", params=range(6))
def states(request):
    swallow = draw_swallow(np.random.default_rng(request.param))
    times = np.linspace(swallow.start_s, swallow.end_s, 300)
    return [state_at(swallow, float(time)) for time in times]


def series(states, name: str) -> np.ndarray:
    return np.array([getattr(state, name) for state in states])


def test_everything_rests_before_and_after(states):
    for name in ("larynx", "epiglottis", "vestibule", "ues"):
        assert series(states, name)[0] == pytest.approx(0.0, abs=1e-6)
        assert series(states, name)[-1] == pytest.approx(0.0, abs=1e-6)


def test_the_airway_shuts_before_the_sphincter_opens(states):
    assert np.argmax(series(states, "vestibule") > 0.3) < np.argmax(series(states, "ues") > 0.3)


def test_the_velum_rises_before_the_larynx(states):
    assert np.argmax(series(states, "velum") > 0.5) < np.argmax(series(states, "larynx") > 0.5)


def test_the_bolus_never_runs_backwards_and_its_tail_follows_its_head(states):
    head, tail = series(states, "head"), series(states, "tail")
    assert (np.diff(head) >= 0).all()
    assert (np.diff(tail) >= 0).all()
    assert (head > tail).all() or tail[np.argmax(head <= tail)] >= 1.0


def test_the_tail_passes_the_sphincter_while_it_is_open(states):
    passing = np.argmax(series(states, "tail") >= UES_END * 0.9)
    assert series(states, "ues")[passing] > 0.3


def test_aspiration_implies_penetration():
    swallows = [draw_swallow(np.random.default_rng(seed)) for seed in range(300)]
    assert all(swallow.penetration for swallow in swallows if swallow.aspiration)
    assert 5 < sum(swallow.aspiration for swallow in swallows) < 120
