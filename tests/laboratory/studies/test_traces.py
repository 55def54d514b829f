"""Collapse of the weights, from what was logged; reading is tested with a real run in test_runner.py."""

import pytest

from bundle.laboratory.studies.readouts import is_collapsed, read_traces


def curves(*shares: float) -> dict[str, list[tuple[int, float]]]:
    """Weights of two teachers; ``shares`` are the first one's."""
    return {
        "weight/a": [(10 * step, share) for step, share in enumerate(shares)],
        "weight/b": [(10 * step, 1 - share) for step, share in enumerate(shares)],
        "weight_entropy": [(10 * step, 0.5) for step in range(len(shares))],
    }


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.97, 0.99), True),
        ((0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.03, 0.01), True),
        ((0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.9), False),
        ((0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.97, 0.02), False),
    ],
)
def test_one_teacher_must_have_nearly_all_in_the_whole_last_quarter(shares, expected):
    assert is_collapsed(curves(*shares)) == expected


def test_one_teacher_alone_does_not_collapse():
    assert not is_collapsed({"weight/a": [(0, 1.0)], "weight_entropy": [(0, 0.0)]})


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ValueError, match="must hold a run of phase 1, got none"):
        read_traces(tmp_path)
