"""From a data list of a few labeled frames to an adapted model, or to one line that says why not."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bundle.adaptation import tune as tuning
from bundle.adaptation.adapt import NotAdaptedError, adapt
from bundle.adaptation.frames import load_site_frames, synthetic_frames
from bundle.adaptation.tune import Frames, TuningPlan, TuningScores, tune
from bundle.atomic import write_json
from bundle.command.app import main
from bundle.export.model_card import load_segmenter, read_model_card
from bundle.losses.segmentation import KNOWN, SegmentationLoss
from bundle.phantom.study import generate_study
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.weights import file_sha256

SIZE = 64
LARGE = ("mandible", "tongue", "pharynx")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Untrained weights of a small model, with their card."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0"), 64), STRUCTURES, SIZE)
    torch.save(segmenter.state_dict(), folder / "model.pt")
    card = {"student_backbone": "efficientvit_b0", "embed_dim": 64, "image_size": SIZE, "structures": list(STRUCTURES)}
    write_json(folder / "model.json", {**card, "held_out": {"mean_dice": 0.9}, "synthetic": "never trained"})
    return folder / "model.pt"


def write_site(folder: Path, patients: int, structures: tuple[str, ...], **sections: list) -> Path:
    """One labeled frame of each of some patients, one mask file per structure, and a film without a label."""
    items = []
    for number in range(patients):
        study = generate_study(900 + number, SIZE, 1)
        Image.fromarray((study.frames[0, 0] * 255).astype(np.uint8)).save(folder / f"s{number}.png")
        label = {}
        for name in structures:
            label[name] = f"s{number}_{name}_mask.png"
            Image.fromarray(study.masks[0, STRUCTURES.index(name)] * 255).save(folder / label[name])
        items.append({"patient": f"s{number}", "image": f"s{number}.png", "label": label})
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(folder / "unlabeled.png")
    items.append({"patient": "u", "image": "unlabeled.png"})
    path = folder / "datalist.json"
    path.write_text(json.dumps({"structures": list(STRUCTURES), "training": items, **sections}))
    return path


def test_a_structure_that_is_not_labeled_is_unknown_and_not_absent(model, tmp_path):
    training, held_out = load_site_frames(write_site(tmp_path, 2, ("tongue",)), load_segmenter(model))
    assert (len(training), len(held_out)) == (2, 0)
    for entry in training:
        assert [name for name, known in zip(STRUCTURES, entry[KNOWN], strict=True) if known] == ["tongue"]
        assert entry["label"][STRUCTURES.index("tongue")].any()
        assert not entry["label"][STRUCTURES.index("c2")].any()


def test_from_five_labeled_frames_on_a_patient_is_held_out(model, tmp_path):
    training, held_out = load_site_frames(write_site(tmp_path, 5, ("tongue",)), load_segmenter(model))
    assert [entry["patient"] for entry in training] == ["s0", "s1", "s2", "s3"]
    assert [entry["patient"] for entry in held_out] == ["s4"]


@pytest.mark.parametrize(("empty", "named"), [(5, "trained on"), (1, "held out")])
def test_labels_that_are_all_empty_are_refused(model, tmp_path, empty, named):
    path = write_site(tmp_path, 5, ("tongue",))
    for number in range(5 - empty, 5):
        Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(tmp_path / f"s{number}_tongue_mask.png")
    with pytest.raises(ValueError, match=f"the labels of the frames that are {named} are all empty"):
        load_site_frames(path, load_segmenter(model))


def test_what_is_unknown_gives_no_loss():
    torch.manual_seed(0)
    masks, presence = torch.randn(1, 2, 8, 8), torch.randn(1, 2)
    label = torch.zeros(1, 2, 8, 8)
    label[:, 0, 2:5, 2:5] = 1
    target = {"label": label, "valid": torch.ones(1, 1, 8, 8), KNOWN: torch.tensor([[1.0, 0.0]])}
    pred = {"masks": masks.requires_grad_(), "iou": torch.rand(1, 2), "presence": presence.requires_grad_()}
    SegmentationLoss()(pred, target).backward()
    assert masks.grad[:, 0].abs().sum() > 0
    assert masks.grad[:, 1].abs().sum() == 0
    assert presence.grad[0, 0] != 0
    assert presence.grad[0, 1] == 0
    one = {"masks": masks[:, :1], "iou": pred["iou"][:, :1], "presence": presence[:, :1]}
    alone = SegmentationLoss()(one, {"label": label[:, :1], "valid": target["valid"]})
    torch.testing.assert_close(SegmentationLoss()(pred, target), alone)


def test_the_command_writes_a_model_that_loads_as_the_shipped_one(model, tmp_path, capsys, monkeypatch):
    plan = TuningPlan(learning_rate=3e-3, steps=12, looks=2)
    monkeypatch.setattr(tuning, "TuningPlan", lambda **given: TuningPlan(**{**vars(plan), **given}))
    datalist, before = write_site(tmp_path, 2, LARGE), file_sha256(model)
    with pytest.raises(SystemExit) as end:
        main(["adapt", str(datalist), "--output", str(tmp_path / "new"), "--model", str(model), "--device", "cpu"])
    assert end.value.code == 0
    card, told = read_model_card(tmp_path / "new" / "model.pt"), capsys.readouterr().out
    adapted = card["adapted"]
    assert adapted["mean_dice_after"] > adapted["mean_dice_before"]
    assert f"{adapted['mean_dice_after']:.3f} after" in told
    assert (adapted["labeled_frames"], adapted["labeled_structures"]) == (2, sorted(LARGE, key=STRUCTURES.index))
    assert "held_out" not in card  # the other model's scores
    assert card["synthetic"] == "adapted to 2 labeled frames of a site; the model before: never trained"
    assert card["sha256"] == file_sha256(tmp_path / "new" / "model.pt")
    assert file_sha256(model) == before
    new, old = load_segmenter(tmp_path / "new" / "model.pt").state_dict(), load_segmenter(model).state_dict()
    changed = {name for name in new if not torch.equal(new[name], old[name])}
    assert any("trunk" in name and "stages.3" in name for name in changed) or any("neck" in name for name in changed)
    assert not any("stages.0" in name or "stem" in name or "running_" in name for name in changed)


def test_no_better_model_is_one_line_and_no_folder(model, tmp_path):
    plan = TuningPlan(learning_rate=1e-12, steps=2, looks=1)
    with pytest.raises(
        NotAdaptedError, match=r"^not adapted, the model stays: mean Dice on the labeled frames"
    ) as error:
        adapt(write_site(tmp_path, 1, ("tongue",)), tmp_path / "new", model, plan)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("synthetic_after", "is_kept"), [(0.895, True), (0.885, False)])
def test_what_forgets_is_undone_however_well_it_does_on_the_site(
    model, tmp_path, monkeypatch, synthetic_after, is_kept
):
    segmenter = load_segmenter(model)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    site, _ = load_site_frames(write_site(tmp_path, 1, LARGE), segmenter)
    synthetic = synthetic_frames(82, 1, 1, segmenter)
    scores = iter([0.5, 0.9, 0.6, synthetic_after])  # on the site and on synthetic frames, before and after
    monkeypatch.setattr(tuning, "mean_dice_of", lambda *_: torch.full((len(STRUCTURES),), next(scores)))
    plan = TuningPlan(steps=1, looks=1)
    tuned = tune(segmenter, Frames(site, [], synthetic, synthetic), plan, time.monotonic() + 60)
    assert (tuned.best is not None) == is_kept
    is_as_before = all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    assert is_as_before == (not is_kept)


def test_a_loss_counts_where_there_are_no_labels():
    start = TuningScores(0, torch.tensor([0.5]), torch.tensor([0.9, 0.8, float("nan")]))
    later = TuningScores(9, torch.tensor([0.6]), torch.tensor([0.7, 0.78, float("nan")]))
    lost, which = later.lost(start, torch.tensor([True, False, False]))
    assert (round(lost, 3), which) == (0.02, 1)
    assert later.lost(start, torch.tensor([False, False, False]))[1] == 0


def test_the_time_is_kept(model, tmp_path):
    segmenter = load_segmenter(model)
    site, _ = load_site_frames(write_site(tmp_path, 1, LARGE), segmenter)
    synthetic = synthetic_frames(82, 1, 1, segmenter)
    tuned = tune(segmenter, Frames(site, [], synthetic, synthetic), TuningPlan(steps=10_000), time.monotonic())
    assert tuned.last.step == 1


def test_labels_of_nothing_that_the_model_knows_are_refused(model, tmp_path):
    path = write_site(tmp_path, 1, ())
    content = json.loads(path.read_text())
    content["training"][0].pop("label")
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no frame of its training has a label of"):
        adapt(path, tmp_path / "new", model, TuningPlan())


def test_a_folder_that_is_there_is_not_replaced(model, tmp_path):
    with pytest.raises(FileExistsError, match="is there already: remove it, or name another folder"):
        adapt(tmp_path / "datalist.json", tmp_path, model, TuningPlan())
    with pytest.raises(ValueError, match="minutes must be positive, got 0"):
        TuningPlan(minutes=0)
