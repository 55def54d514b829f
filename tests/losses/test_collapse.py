"""The collapse monitor: one warning, with a remedy, and none without reason."""

import warnings

import pytest

from bundle.losses.collapse import CollapseMonitor

COLLAPSED = {"medsam2": 0.97, "rad_dino": 0.02, "medclip": 0.01}
HEALTHY = {"medsam2": 0.5, "rad_dino": 0.3, "medclip": 0.2}


def test_a_collapse_that_lasts_is_warned_of_with_a_remedy():
    monitor = CollapseMonitor(patience=3)
    monitor.update(COLLAPSED)
    monitor.update(COLLAPSED)
    with pytest.warns(UserWarning, match=r"collapsed: teacher 'medsam2' .* for 3 steps .* Use AttentionEntropyFloor"):
        monitor.update(COLLAPSED)


@pytest.mark.parametrize(
    "history",
    [
        [COLLAPSED, COLLAPSED, HEALTHY] * 5,
        [COLLAPSED, {"medsam2": 0.0, "rad_dino": 1.0, "medclip": 0.0}] * 5,
        [{"medsam2": 1.0}] * 10,
        [HEALTHY] * 10,
    ],
    ids=["it recovers", "teachers take turns", "there is one teacher", "healthy"],
)
def test_nothing_is_said_when(history):
    monitor = CollapseMonitor(patience=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for weights in history:
            monitor.update(weights)


def test_it_is_said_once():
    monitor = CollapseMonitor(patience=1)
    with pytest.warns(UserWarning, match="collapsed"):
        monitor.update(COLLAPSED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.update(COLLAPSED)


def test_weights_need_not_sum_to_one():
    with pytest.warns(UserWarning, match="'rad_dino'"):
        CollapseMonitor(patience=1).update({"medsam2": 0.1, "rad_dino": 40.0})
