"""What holding masks together does, counted: values worked out by hand, and a run on small swallows and a film."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from bundle.laboratory.experiments import parts
from bundle.laboratory.experiments.parts import AFTER, BEFORE, MaskTally, format_parts, measure_parts
from bundle.phantom.study import generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES


def masks_of(*boxes: tuple[slice, slice]) -> np.ndarray:
    masks = np.zeros((1, 20, 20), bool)
    for box in boxes:
        masks[0][box] = True
    return masks


BODY = (slice(2, 6), slice(2, 6))


def test_values_of_a_film_of_three_frames():
    tally = MaskTally()
    tally.begin()
    tally.add(masks_of(BODY, (slice(10, 14), slice(2, 6))), masks_of(BODY))  # twice as large: Dice 2/3
    tally.add(masks_of(), masks_of(BODY))  # missed
    tally.add(masks_of(BODY), masks_of())  # invented
    means = {name: values[0] for name, values in tally.means().items()}
    assert means["parts"] == 1.5
    assert means["change"] == 1.0
    assert means["flicker"] == 0.5  # the truth changes once
    assert means["dice"] == pytest.approx((2 / 3 + 0) / 2)
    assert means["hd95"] == 8.0
    assert (means["missed"], means["invented"]) == (0.5, 1.0)


def test_a_new_film_begins_without_a_change():
    tally = MaskTally()
    for masks in (masks_of(BODY), masks_of()):
        tally.begin()
        tally.add(masks)
    assert "change" not in tally.means()
    assert "dice" not in tally.means()


class BrightParts(nn.Module):
    """The same bright pixels for every structure, specks and all."""

    structures, image_size = STRUCTURES, 64

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (20 * (frames - 0.6)).expand(-1, 12, -1, -1)


def test_swallows_and_films_are_counted_before_and_after(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "SIZE", 64)
    monkeypatch.setattr(parts, "NUM_FRAMES", 3)
    write_dicom(generate_study(seed=4, size=64, num_frames=5), tmp_path / "cine.dcm", "JANE")
    rows = measure_parts(BrightParts(), tmp_path, 1, [tmp_path / "cine.dcm"])
    found = {(row["data"], row["structure"]): row for row in rows}
    assert {data for data, _ in found} == {"phantom, standard", "phantom, hard", "film 1"}
    assert len(rows) == 3 * 12
    assert found["phantom, hard", "mandible"][BEFORE]["parts"] > 1
    assert {row[AFTER]["parts"] for row in rows if row["structure"] == "mandible"} == {1.0}
    assert found["film 1", "bolus"][BEFORE].keys() == {"parts", "change"}
    assert json.loads((tmp_path / "parts.json").read_text())["rows"] == rows
    table = format_parts(rows)
    assert "**film 1**" in table
    assert f"| c2 | {found['film 1', 'c2'][BEFORE]['parts']:.3f} → 1.000 |" in table
