"""Slices without labels: drawn volumes, a student of random weights in a random decoder; the page's part of it."""

import json

import pytest
import torch

from bundle.engines import zero_label
from bundle.engines.zero_label import FILLED_BOX, SOURCES, STUDENT, TEACHER, load_segmenters
from bundle.laboratory.studies import slices_page, slices_zero
from bundle.laboratory.studies.slices import BOX
from bundle.laboratory.studies.slices_page import study_slices
from bundle.laboratory.studies.slices_zero import CARRIED, OWN_BOX, masks_without_labels
from bundle.teachers.base import Teacher
from tests.engines.test_zero_label import SIZE, Encoder, parts  # noqa: F401 - a fixture
from tests.laboratory.public_sets.test_ct_lesions import write_volumes

WAYS = (BOX, OWN_BOX, CARRIED)


class Bright:
    """A segmenter that finds what is bright inside the box."""

    def encode(self, frames):
        return {"frames": frames}

    def answer(self, features, size, boxes):
        (left, top, right, bottom), logits = boxes[0].tolist(), features["frames"] - 0.5
        y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        return torch.where((x > left - 1) & (x < right + 1) & (y > top - 1) & (y < bottom + 1), logits, -0.5)


def test_boxes_are_on_the_frames_of_the_student_and_masks_on_the_slices_own_pixels():
    slices = torch.zeros(5, 1, 20, 32)
    slices[1:4, 0, 12:17, 20:29] = 1.0
    label = slices.bool()
    slices[0, 0, 1:3, 1:3] = 1.0  # another bright thing, outside all boxes
    found = masks_without_labels(SOURCES, {TEACHER: Bright(), STUDENT: Bright()}, 64, slices, label)
    assert list(found) == [(source, way) for source in SOURCES for way in WAYS]
    for way in WAYS:
        assert torch.equal(found[STUDENT, way], label)
    assert torch.equal(found[FILLED_BOX, OWN_BOX], label)
    assert torch.equal(found[FILLED_BOX, CARRIED], label[2:3].expand(5, -1, -1, -1))  # it never vanishes


@pytest.fixture
def toy(parts, monkeypatch):  # noqa: F811
    """Random weights instead of LiteMedSAM's; returns phase 1's folder."""
    given = {name: parts[name] for name in ("teacher", "teachers", "decoder")}
    monkeypatch.setattr(slices_zero, "load_segmenters", lambda folder, names: load_segmenters(folder, names, **given))
    return parts["distill_folder"]


def test_the_page_gains_a_part_that_says_that_no_student_saw_a_ct_and_keeps_it(tmp_path, toy, monkeypatch):
    write_volumes(tmp_path / "ct")
    monkeypatch.setattr(slices_page, "slices_page", lambda _report: "# Slices\n")
    monkeypatch.setattr(slices_page, "run_slices", lambda *_: {})
    given = {"folder": tmp_path / "ct", "work_dir": tmp_path / "runs", "output_dir": tmp_path, "seeds": [0]}
    with pytest.raises(FileNotFoundError, match=r"slices\.json"):
        study_slices(**given, without_labels=[toy])
    assert study_slices(**given).read_text() == "# Slices\n"
    page = study_slices(**given, without_labels=[toy, toy]).read_text()
    assert page == study_slices(**given).read_text()
    assert "**No student here has seen a CT" in page
    assert "2 students: efficientvit_b0 at 64², of toy;" in page
    assert page.count("\n| asked by a box |") == page.count(f"\n| {CARRIED} |") == len(SOURCES)
    assert str(tmp_path) not in page
    report = json.loads((tmp_path / "slices_without_labels.json").read_text())
    assert len(report["scores"]) == 6 * len(WAYS) * (len(SOURCES) + 1)  # the second student alone
    assert {score["section"] for score in report["scores"]} == {"test"}
    perfect = [s["volume_dice"] for s in report["scores"] if (s["variant"], s["masks"]) == (FILLED_BOX, OWN_BOX)]
    assert perfect == [1.0] * 6  # the written lesions are boxes


def test_a_student_of_other_teachers_is_refused(toy, monkeypatch):
    monkeypatch.setattr(zero_label, "packaged_lite_medsam", lambda: "")
    monkeypatch.setattr(zero_label, "load_lite_medsam_decoder", lambda _: torch.nn.Identity())
    monkeypatch.setattr(zero_label, "load_lite_medsam", lambda _: Teacher("lite_medsam", Encoder(), "random"))
    with pytest.raises(ValueError, match=r"has heads for \['toy'\], none for \['lite_medsam'\]: distill that teacher"):
        load_segmenters(toy)
