"""The engine's benchmark runs real steps with every option, and its figures fit together."""

from dataclasses import replace

import pytest

from bundle.laboratory.benchmarks.training import (
    DEFAULT,
    VARIANTS,
    TrainingSetting,
    TrainingStep,
    count_flops,
    measure_training,
)

SMALL = TrainingSetting(image_size=64, batch_size=4, teachers=(("loud", 8, 4), ("quiet", 4, 2)))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "float16" and "compile" not in name])
def test_a_step_of_every_variant_trains(name):
    step = TrainingStep(SMALL, VARIANTS[name], steps=1)
    before = [parameter.detach().clone() for parameter in step.network.heads.parameters()]
    step.run()
    assert step.trainer.state.output["loss"].isfinite()
    assert step.trainer.state.iteration == VARIANTS[name].accumulation_steps
    assert all((old != new).any() for old, new in zip(before, step.network.heads.parameters(), strict=True))


def test_the_report_has_a_line_per_option_and_the_default_is_one():
    report = measure_training(SMALL, ["average of the weights"], rounds=2, steps=1, with_memory=False)
    assert [option["name"] for option in report["options"]] == [DEFAULT, "average of the weights"]
    assert report["options"][0]["ratio"] == 1.0
    option = report["options"][1]
    assert option["lowest_ratio"] <= option["ratio"] <= option["highest_ratio"]


def test_flops_grow_with_the_image_in_the_student_and_not_in_the_heads():
    """Convolutions of the student grow with the pixels; the heads work on the teachers' grids."""
    small, large, larger = (count_flops(replace(SMALL, image_size=size)) for size in (64, 128, 192))
    assert (larger - small) / (large - small) == pytest.approx((9 - 1) / (4 - 1), rel=0.02)


def test_wrong_requests_are_refused():
    with pytest.raises(ValueError, match=r"unknown options \['fp16'\], expected some of"):
        measure_training(SMALL, ["fp16"])
    with pytest.raises(ValueError, match="batch_size must be a multiple of 4"):
        measure_training(TrainingSetting(batch_size=6))
