"""Slices of a volume: every patient is held out once, scores are of whole volumes, nothing is trained twice."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from bundle.data.datalist import read_datalist
from bundle.engines.preflight import check_command
from bundle.laboratory.public_sets.ct_lesions import make_ct_lesion_datalist
from bundle.laboratory.studies import slices
from bundle.laboratory.studies.slices import (
    BOX,
    DISTILLED,
    ELLIPSOID,
    RANDOM,
    make_folds,
    run_slices,
    train_once,
    training_stages,
)
from bundle.laboratory.studies.slices_page import findings, paired_table, slices_page, study_slices
from bundle.segmentation.segmenter import ImageFeatures, PromptedMasks
from tests.laboratory.public_sets.test_ct_lesions import NAMES, write_volumes


class Bright(nn.Module):
    """Finds what is bright, as the lesions of the written volumes are, however it is asked."""

    image_size, structures = 32, ("lesion",)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(20.0))

    def forward(self, frames):
        return frames * self.weight - 10

    def encode(self, frames):
        return ImageFeatures(frames, ())

    def decode_prompts(self, features, points, labels, mask=None):
        return PromptedMasks(self(features.embedding).expand(-1, 4, -1, -1), torch.ones(1, 4))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with one seed: trainings are noted and leave a student's file; every model is ``Bright``."""
    folder = tmp_path_factory.mktemp("slices")
    write_volumes(folder / "ct")
    trained: list[str] = []

    def pretend(stages):
        for stage in stages:
            trained.append(stage.title)
            target = Path(stage.overrides["output_dir"])
            target.mkdir(parents=True, exist_ok=True)
            (target / "student.pt").write_bytes(b"weights")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "run_stages", pretend)
        patch.setattr(slices, "load_segmenter", lambda _path: Bright())
        yield folder, trained, run_slices(folder / "ct", folder / "runs", seeds=[0])


def test_every_patient_is_held_out_once_and_never_trained_on_then(tmp_path):
    write_volumes(tmp_path / "ct")
    every = make_ct_lesion_datalist(tmp_path / "ct", tmp_path / "list", (1.0, 0.0, 0.0))
    contents = [read_datalist(path) for path in make_folds(every, 3)]
    held_out = [{item["patient"] for item in content["test"]} for content in contents]
    assert held_out == [{"000001", "000010"}, {"000002", "000015"}, {"000009"}]
    assert [len(content["training"]) for content in contents] == [4, 3, 5]
    with pytest.raises(ValueError, match="6 folds need as many patients, got 5"):
        make_folds(every, 6)


def test_every_training_uses_configs_and_keys_that_exist(tmp_path):
    stages = training_stages(tmp_path / "fold0.json", tmp_path / "seed0_fold0", seed=0)
    assert [stage.configs[0] for stage in stages] == ["train.json", "distill.json", "train.json"]
    assert stages[2].overrides["student_checkpoint"] == f"{stages[1].overrides['output_dir']}/student.pt"
    for stage in stages:
        check_command(stage.command()[2:])


def test_every_model_is_scored_on_seen_and_unseen_volumes_in_both_ways(finished):
    _, trained, report = finished
    assert len(trained) == 3 * 3
    assert len(report["scores"]) == 3 * 6 * (2 * 2 + 1)
    for way in ("automatic", BOX):
        unseen = [s for s in report["scores"] if (s["section"], s["variant"], s["masks"]) == ("test", DISTILLED, way)]
        assert sorted(score["volume"] for score in unseen) == sorted(NAMES)
        assert all(score["volume_dice"] == 1.0 and score["flicker"] == 0.0 for score in unseen)
    drawn = [score["volume_dice"] for score in report["scores"] if score["variant"] == ELLIPSOID]
    assert 0.4 < min(drawn) == max(drawn) < 1.0  # of a lesion that is a box


def test_what_is_trained_is_not_trained_again_unless_a_key_changes(finished, monkeypatch):
    folder, trained, _ = finished
    stages = training_stages(folder / "runs" / "volumes" / "fold0.json", folder / "runs" / "seed0_fold0", seed=0)
    before = len(trained)
    for stage in stages:
        train_once(stage, folder / "runs" / "volumes")
    assert len(trained) == before
    monkeypatch.setitem(stages[1].overrides, "epochs", 5)
    train_once(stages[1], folder / "runs" / "volumes")
    assert trained[before:] == ["seed0_fold0: phase 1"]


def test_a_folder_that_is_not_there_is_said_and_nothing_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CT sub-volumes"):
        study_slices(tmp_path / "gone", tmp_path / "runs", tmp_path / "evidence", seeds=[0])
    assert list(tmp_path.iterdir()) == []


def score_of(variant, seed, patient, value, section="test", masks=BOX):
    names = {"variant": variant, "masks": masks, "seed": seed, "section": section, "patient": patient}
    return {**names, "volume": f"CT_{patient}", **dict.fromkeys(("slice_dice", "volume_dice", "flicker"), value)}


def scores_with(gain):
    """Six patients and three seeds; distilled is better by ``gain``, a little more for some patients and seeds."""
    scores = []
    for seed in range(3):
        for number in range(6):
            for section, masks in (("test", BOX), ("test", "automatic"), ("training", "automatic")):
                base = 0.3 + 0.01 * number
                better = base + gain * (1 + 0.05 * number + 0.02 * seed)
                scores.append(score_of(RANDOM, seed, f"{number}", base, section, masks))
                scores.append(score_of(DISTILLED, seed, f"{number}", better, section, masks))
            scores.append(score_of(ELLIPSOID, seed, f"{number}", 0.9))
    return scores


def test_differences_are_of_the_same_patient_and_seed_and_of_unseen_patients_asked_by_a_box():
    scores = [score_of(DISTILLED, 0, "1", 0.5), score_of(RANDOM, 0, "1", 0.2)]
    scores += [score_of(DISTILLED, 0, "1", 0.9, "training"), score_of(RANDOM, 0, "1", 0.1, "training")]
    scores += [score_of(DISTILLED, 0, "1", 0.9, masks="automatic"), score_of(RANDOM, 0, "1", 0.1, masks="automatic")]
    names = (DISTILLED, RANDOM, "volume_dice")
    assert paired_table(scores, *names).tolist() == [[pytest.approx(0.3)]]
    scores += [score_of(DISTILLED, 0, "1", 0.1), score_of(RANDOM, 0, "1", 0.2)]  # a second sub-volume
    assert paired_table(scores, *names).tolist() == [[pytest.approx(0.1)]]


@pytest.mark.parametrize(
    ("gain", "word"), [(0.1, "higher than random weights by 0.11"), (0.0, "equivalent to random weights")]
)
def test_the_verdict_follows_the_numbers(gain, word):
    lines = findings(scores_with(gain))
    (line,) = (line for line in lines if "3-D Dice" in line and 'of "random weights"' in line)
    assert word in line
    assert "over 3 seeds and 6 patients" in line
    (line,) = (line for line in lines if line.startswith("Random weights, ") and ELLIPSOID in line)
    assert "3-D Dice 0.325 ± 0.000, against 0.900 ± 0.000" in line
    assert f"lower than {ELLIPSOID} by 0.575" in line


def test_the_page_states_data_scale_machine_and_command_and_names_no_folder(finished):
    folder, _, report = finished
    page = slices_page(json.loads(json.dumps(report)))
    assert "Real CT, 6 sub-volumes of 5 patients" in page
    assert "DeepLesion" in page
    assert report["machine"] in page
    assert "`python scripts/laboratory/study_slices.py path/to/ct_lesions --seeds 0`" in page
    assert "too few runs to tell" in page  # one seed
    assert str(folder) not in page + json.dumps(report)
    rows = [line for line in page.splitlines() if line.startswith("| CT_Lesion_")]
    assert len(rows) == 6 * 3
    assert all(re.fullmatch(r"\| \S+ \| [^|]+ (\| -?\d\.\d{3} ){3}\|", row) for row in rows)
