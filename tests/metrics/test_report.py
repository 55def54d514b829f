"""The evaluation table: absent structures, averaging, units, and the files."""

import csv
import json
import math

import pytest
import torch
from PIL import Image

from bundle.metrics.report import EvaluationTable
from bundle.structures import STRUCTURES


def square(offset: int | None, size: int = 16) -> torch.Tensor:
    """A 4 × 4 square ``(H, W)``, moved right by ``offset`` columns; None gives an empty mask."""
    mask = torch.zeros(size, size, dtype=torch.bool)
    if offset is not None:
        mask[4:8, 2 + offset : 6 + offset] = True
    return mask


def table_of(*frames: tuple[str, int | None, int | None], spacing: list[list[float]] | None = None) -> EvaluationTable:
    """A table of one structure from (patient, offset of the prediction, offset of the label)."""
    table = EvaluationTable(["hyoid"])
    table.update(
        torch.stack([square(pred) for _, pred, _ in frames])[:, None],
        torch.stack([square(label) for _, _, label in frames])[:, None],
        [patient for patient, _, _ in frames],
        ["clip"] * len(frames),
        range(len(frames)),
        None if spacing is None else torch.tensor(spacing),
    )
    return table


def test_a_frame_without_the_structure_changes_neither_dice_nor_hd95():
    with_absent = table_of(("a", 2, 0), ("a", None, None), ("a", 0, None)).summary()
    without = table_of(("a", 2, 0)).summary()
    assert with_absent["dice"] == without["dice"] == {"hyoid": 0.5}  # 2 of 4 columns shared
    assert with_absent["hd95"] == without["hd95"] == {"hyoid": 2.0}


def test_false_presence_is_counted_over_frames_without_the_structure():
    summary = table_of(("a", 0, 0), ("a", None, None), ("a", 0, None), ("b", None, None), ("b", 3, None)).summary()
    assert summary["false_presence_rate"]["hyoid"] == 2 / 4
    assert summary["counts"]["hyoid"]["label_absent_frames"] == 4


def test_a_missed_structure_has_dice_zero_no_hd95_and_is_counted():
    summary = table_of(("a", 0, 0), ("a", None, 0), ("a", 2, 0), ("a", None, 0)).summary()
    assert summary["dice"]["hyoid"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert summary["hd95"]["hyoid"] == pytest.approx((0 + 2) / 2)
    assert summary["missed_rate"]["hyoid"] == 2 / 4


def test_a_patient_with_many_frames_weighs_no_more_than_one_with_few():
    summary = table_of(("many", 0, 0), ("many", 0, 0), ("many", 0, 0), ("few", 2, 0)).summary()
    assert summary["dice"]["hyoid"] == pytest.approx((1.0 + 0.5) / 2)


def test_the_mean_is_over_the_structures_that_occur():
    table = EvaluationTable(["hyoid", "c2", "bolus"])
    pred = torch.stack([square(0), square(2), square(1)])[None]
    label = torch.stack([square(0), square(0), square(None)])[None]
    table.update(pred, label, ["a"], ["clip"], [0])
    summary = table.summary()
    assert summary["mean_dice"] == pytest.approx((1.0 + 0.5) / 2)
    assert summary["dice"]["bolus"] is None
    assert summary["counts"]["bolus"]["patients"] == 0


def test_distances_are_millimetres_when_every_frame_has_a_spacing():
    table = table_of(("a", 2, 0), ("b", 2, 0), spacing=[[0.25, 0.25], [0.5, 0.5]])
    assert table.unit == "mm"
    assert table.summary()["hd95"]["hyoid"] == pytest.approx((2 * 0.25 + 2 * 0.5) / 2)


def test_oblong_pixels_use_the_columns_spacing_across_columns():
    assert table_of(("a", 2, 0), spacing=[[0.1, 0.5]]).summary()["hd95"]["hyoid"] == pytest.approx(2 * 0.5)


@pytest.mark.parametrize("missing", [[math.nan, math.nan], [0.3, math.nan]])
def test_one_frame_without_spacing_turns_all_distances_into_pixels_and_says_so(missing):
    table = table_of(("a", 2, 0), ("b", 2, 0), spacing=[[0.25, 0.25], missing])
    assert table.unit == "px"
    assert table.summary()["hd95"]["hyoid"] == 2.0
    assert "distances in pixels: not every frame has a pixel spacing" in table.format_table()


def test_batches_add_up_to_the_same_table_as_one_update():
    torch.manual_seed(0)
    pred, label = (torch.rand(6, 12, 16, 16) > 0.6 for _ in range(2))
    whole, parts = EvaluationTable(STRUCTURES), EvaluationTable(STRUCTURES)
    patients, clips = list("aabbcc"), list("xxyyzz")
    whole.update(pred, label, patients, clips, range(6))
    for part in (slice(0, 1), slice(1, 5), slice(5, 6)):
        parts.update(pred[part], label[part], patients[part], clips[part], range(6)[part])
    assert parts.summary() == whole.summary()
    assert whole.summary()["num_frames"] == 6


def test_the_text_table_is_aligned_and_names_every_structure():
    table = EvaluationTable(STRUCTURES)
    table.update(torch.ones(1, 12, 8, 8), torch.ones(1, 12, 8, 8), ["a"], ["clip"], [0])
    lines = table.format_table().splitlines()
    assert [line.split()[0] for line in lines[2:14]] == list(STRUCTURES)
    assert len({len(line) for line in lines[:14]}) == 1


def test_written_files_read_back_as_the_summary(tmp_path):
    table = table_of(("a", 2, 0), ("b", None, None), spacing=[[0.25, 0.25]] * 2)
    files = table.write(tmp_path / "new" / "folder")
    assert json.loads(files["json"].read_text()) == table.summary()
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert [(row["patient"], row["structure"], row["dice"], row["hd95"], row["unit"]) for row in rows] == [
        ("a", "hyoid", "0.5", "0.5", "mm"),
        ("b", "hyoid", "", "", "mm"),
    ]
    assert len(list(csv.DictReader(files["frames_csv"].read_text().splitlines()))) == 2
    with Image.open(files["png"]) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200


def test_a_patient_id_cannot_become_a_spreadsheet_formula(tmp_path):
    files = table_of(("=cmd|' /C calc'!A0", 0, 0)).write(tmp_path)
    assert next(csv.DictReader(files["csv"].read_text().splitlines()))["patient"].startswith("'=cmd")


def test_a_frame_scored_twice_is_an_error():
    table = table_of(("a", 0, 0))
    with pytest.raises(ValueError, match=r"frame 0 of clip 'clip' was evaluated twice: call reset\(\)"):
        table.update(square(0)[None, None], square(0)[None, None], ["a"], ["clip"], [0])
    table.reset()
    table.update(square(0)[None, None], square(0)[None, None], ["a"], ["clip"], [0])


def test_an_empty_evaluation_is_an_error():
    with pytest.raises(ValueError, match="no frame has been evaluated"):
        EvaluationTable(["hyoid"]).summary()


def test_a_wrong_number_of_channels_is_an_error_that_lists_the_structures():
    with pytest.raises(ValueError, match=r"one channel per structure \['hyoid', 'c2'\], got \(1, 1, 16, 16\)"):
        EvaluationTable(["hyoid", "c2"]).update(square(0)[None, None], square(0)[None, None], ["a"], ["c"], [0])


def test_ids_must_be_given_for_every_frame():
    with pytest.raises(ValueError, match="got 1 frames, 2 patients, 1 clips and 1 indices"):
        EvaluationTable(["hyoid"]).update(square(0)[None, None], square(0)[None, None], ["a", "b"], ["c"], [0])


def test_a_negative_spacing_is_an_error():
    with pytest.raises(ValueError, match="must be positive, or NaN where it is not known"):
        table_of(("a", 0, 0), spacing=[[-0.3, 0.3]])


@pytest.mark.parametrize("names", [[], ["hyoid", "hyoid"]])
def test_structures_must_be_different_names(names):
    with pytest.raises(ValueError, match="structures must be different names"):
        EvaluationTable(names)
