"""Two processes compute what one does: statistics, gradients of a step, and validation metrics to the last bit."""

import importlib.util
from pathlib import Path

import pytest
import torch

COMPUTATIONS = Path(__file__).with_name("computations.py")
BALANCERS = [
    "Attention",
    "AttentionEntropyFloor",
    "Equal",
    "HighestLossFirst",
    "Mlp",
    "Static",
    "TeacherDropping",
    "Uncertainty",
]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:statistics of:UserWarning")]


@pytest.fixture(scope="module")
def one() -> dict:
    """Everything, computed by this process alone; with one thread, as torchrun's, since sums depend on the threads."""
    spec = importlib.util.spec_from_file_location("computations", COMPUTATIONS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return module.compute_all()
    finally:
        torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def two(torchrun, tmp_path_factory) -> list[dict]:
    """Everything, computed by two processes; what each of them has got."""
    folder = tmp_path_factory.mktemp("two")
    result = torchrun(str(COMPUTATIONS), str(folder))
    assert result.returncode == 0, result.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def relative_difference(actual: list, expected: list) -> float:
    """Norm of the difference over the norm of what is expected; what is None must be so in both."""
    assert [value is None for value in actual] == [value is None for value in expected]
    pairs = [(a.double(), e.double()) for a, e in zip(actual, expected, strict=True) if a is not None]
    assert pairs
    difference = sum((a - e).square().sum() for a, e in pairs)
    return float((difference / sum(e.square().sum() for _, e in pairs)).sqrt())


@pytest.mark.parametrize("teacher", ["wide", "narrow"])
def test_statistics(one, two, teacher):
    expected = one["statistics"][teacher]
    for process in two:
        actual = process["statistics"][teacher]
        assert actual["counts"] == expected["counts"]
        for name in ("mean", "scatter"):
            torch.testing.assert_close(actual[name], expected[name], rtol=1e-10, atol=1e-10)
    assert all(
        torch.equal(two[0]["statistics"][teacher][n], two[1]["statistics"][teacher][n]) for n in ("mean", "scatter")
    )


def test_all_balancers_are_compared(one):
    assert list(one["balanced_step"]) == BALANCERS


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_step_with_every_balancer(one, two, balancer):
    expected = one["balanced_step"][balancer]
    for process in two:
        actual = process["balanced_step"][balancer]
        assert actual["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert actual["latest"] == pytest.approx(expected["latest"], rel=1e-6, abs=1e-8)
        assert relative_difference(actual["gradients"], expected["gradients"]) < 1e-6
    assert two[0]["balanced_step"][balancer]["latest"] == two[1]["balanced_step"][balancer]["latest"]


def test_a_step_of_a_student_with_batch_norm(one, two):
    expected = one["student_step"]
    for process in two:
        actual = process["student_step"]
        assert relative_difference(actual["gradients"], expected["gradients"]) < 1e-10
        assert relative_difference(actual["buffers"], expected["buffers"]) < 1e-10


def test_a_step_of_phase_2(one, two):
    expected = one["segmentation_step"]
    for process in two:
        assert relative_difference(process["segmentation_step"]["gradients"], expected["gradients"]) < 1e-4
        assert relative_difference(process["segmentation_step"]["buffers"], expected["buffers"]) < 1e-5


@pytest.mark.parametrize(("num_frames", "batches"), [(9, [5, 3, 2]), (2, [1, 1, 1])])
def test_validation_metrics_to_the_last_bit(one, two, num_frames, batches):
    expected = one["validation"][num_frames]
    assert [process["validation"][num_frames]["batches"] for process in (one, *two)] == batches
    for process in two:
        for name in ("distillation", "dice", "report", "scores"):
            assert repr(process["validation"][num_frames][name]) == repr(expected[name]), name


def test_the_mean_dice_is_monais(one):
    validation = one["validation"][9]
    assert validation["dice"] == validation["monai_dice"]
    assert 0 < validation["dice"] < 1
