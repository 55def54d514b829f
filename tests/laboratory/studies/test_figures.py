"""The figure of the weights: a panel for every variant that has several teachers."""

from dataclasses import replace

from bundle.laboratory.studies.figures import draw_weights
from tests.laboratory.studies.test_statistics import run


def phases(*names: str) -> list[dict]:
    curves = {f"weight/{name}": [[0, 0.5], [10, 0.7]] for name in names}
    return [{"curves": {**curves, "weight_entropy": [[0, 1.0], [10, 0.8]]}}]


def test_weights_have_a_panel_per_variant_that_has_several_teachers(tmp_path):
    records = [replace(run("both", seed, {"p": {"bolus": 0.5}}), phases=phases("a", "b")) for seed in range(2)]
    records += [replace(run("alone", 0, {"p": {"bolus": 0.5}}), phases=phases("a"))]
    path, again = (
        draw_weights(records, ["alone", "both", "never run"], tmp_path / name) for name in ("1.svg", "2.svg")
    )
    text = path.read_text()
    assert text == again.read_text()  # the same bytes, without a date
    assert ">both<" in text
    assert ">alone<" not in text
    assert {name for name in ("a", "b", "entropy") if f">{name}<" in text} == {"a", "b", "entropy"}
    assert draw_weights(records[-1:], ["alone"], tmp_path / "none.svg") is None
