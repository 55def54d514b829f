"""A study's figure: the same bytes every time, text that can be searched, and marks where the numbers are."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from bundle.studies.figures import STYLES, draw_scores, draw_weights, scores_figure
from bundle.studies.record import RunRecord
from bundle.studies.statistics import compare_all

ORDER = ["one teacher", "a variant with quite a long name", "worse", "one seed", "not run"]


def runs_of(variant: str, means: list[float]) -> list[RunRecord]:
    records = []
    for seed, mean in enumerate(means):
        patients = {f"p{number}": {"bolus": mean + shift} for number, shift in enumerate(np.linspace(-0.02, 0.02, 6))}
        splits = {"test": {"dice": patients}, "hard_test": {"dice": patients}}
        records.append(RunRecord("key", "study", variant, seed, splits, {}, {}, "2026-11-27", "machine"))
    return records


RECORDS = [
    *runs_of("one teacher", [0.70, 0.71]),
    *runs_of("a variant with quite a long name", [0.80, 0.811]),
    *runs_of("worse", [0.60, 0.609]),
    *runs_of("one seed", [0.70]),
]


def points(axes) -> dict[tuple[float, float], str]:
    """Position of every mark -> its colour."""
    return {
        (round(float(x), 4), round(float(y), 4)): tuple(np.round(mark.get_facecolor()[0][:3], 3))
        for mark in axes.collections
        for x, y in mark.get_offsets()
    }


def rgb(name: str) -> tuple:
    return tuple(np.round([int(STYLES[name][0][start : start + 2], 16) / 255 for start in (1, 3, 5)], 3))


def test_the_figure_is_the_same_bytes_twice_and_names_no_date(tmp_path):
    one, other = (draw_scores(RECORDS, ORDER, "one teacher", tmp_path / name) for name in ("a.svg", "b.svg"))
    assert one.read_bytes() == other.read_bytes()
    assert "date" not in one.read_text().lower()
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "b.svg"}


def test_names_are_text_and_every_split_has_its_panel(tmp_path):
    root = ElementTree.parse(draw_scores(RECORDS, ORDER, "one teacher", tmp_path / "a.svg")).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [texts.count(variant) for variant in ORDER] == [1] * len(ORDER)
    assert [texts.count(title) for title in ("test", "hard test")] == [1, 1]
    assert texts.count("mean Dice (1 is best)") == 2


def test_seeds_and_their_mean_stand_in_the_variants_row_in_the_colour_of_its_verdict():
    axes = scores_figure(RECORDS, ORDER, "one teacher").axes[0]
    drawn = points(axes)
    assert set(drawn) == {
        *[(0.70, 0.24), (0.71, 0.24), (0.705, 0)],
        *[(0.80, 1.24), (0.811, 1.24), (0.8055, 1)],
        *[(0.60, 2.24), (0.609, 2.24), (0.6045, 2)],
        *[(0.70, 3.24), (0.70, 3)],
    }
    assert [drawn[at] for at in [(0.705, 0), (0.8055, 1), (0.6045, 2), (0.70, 3)]] == [
        rgb(name) for name in ("reference", "higher", "lower", "no verdict")
    ]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first variant is on top


def test_the_bar_is_the_interval_of_the_difference_from_the_references_mean():
    axes = scores_figure(RECORDS, ORDER, "one teacher").axes[0]
    dashed, *bars = axes.lines
    assert list(dashed.get_xdata()) == pytest.approx([0.705, 0.705])
    intervals = compare_all(RECORDS, ORDER, "one teacher", "test")
    assert [list(bar.get_ydata()) for bar in bars] == [[1, 1], [2, 2]]
    for bar, variant in zip(bars, ORDER[1:3], strict=True):
        assert list(bar.get_xdata()) == pytest.approx([0.705 + end for end in intervals[variant].interval])


def test_weights_have_a_panel_per_variant_that_has_several_teachers(tmp_path):
    def phases(*names: str) -> list[dict]:
        curves = {f"weight/{name}": [[0, 0.5], [10, 0.7]] for name in names}
        return [{"curves": {**curves, "weight_entropy": [[0, 1.0], [10, 0.8]]}}]

    both, alone = runs_of("both", [0.7, 0.8]), runs_of("alone", [0.7])
    records = [replace(run, phases=phases("a", "b")) for run in both]
    records += [replace(run, phases=phases("a")) for run in alone]
    path = draw_weights(records, ["alone", "both", "never run"], tmp_path / "weights.svg")
    text = path.read_text()
    assert ">both<" in text
    assert ">alone<" not in text
    assert {name for name in ("a", "b", "entropy") if f">{name}<" in text} == {"a", "b", "entropy"}
    assert draw_weights(records[-1:], ["alone"], tmp_path / "none.svg") is None


def test_no_run_is_no_figure(tmp_path):
    with pytest.raises(ValueError, match="expected one finished run or more to draw, got none"):
        draw_scores([], ORDER, "one teacher", tmp_path / "a.svg")
    assert list(tmp_path.iterdir()) == []
