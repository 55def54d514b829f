"""Stages are known by what they depend on: shared where it is the same, new where anything differs."""

from dataclasses import replace
from pathlib import Path

import pytest

from bundle.laboratory.studies import plan
from bundle.laboratory.studies.definition import EvidenceStudy, Phase, Scale, Variant, teacher_configs
from bundle.laboratory.studies.plan import Planner

SCALE = Scale("tiny", (0, 1), {"num_train": 2}, {"epochs": 1}, {"epochs": 2})
ONE = Phase(("distill.json",), {}, ("medclip",))
TRAIN = Phase(("train.json",))
FROZEN = Phase(("train.json",), {"encoder_training": "frozen"})


def planner(scale=SCALE, folder=Path("stages"), datalist=Path("data/datalist.json"), teachers=None, others=None):
    return Planner(folder, datalist, scale, teacher_configs() if teachers is None else teachers, others)


def run(variant, seed=0, **given):
    return planner(**given).run("study", variant, seed)


def test_the_training_starts_from_the_distilled_student():
    distill, train = run(Variant("a", (ONE,), TRAIN)).stages
    assert train.keys["student_checkpoint"] == str(distill.folder / "student.pt")
    assert (distill.keys["epochs"], train.keys["epochs"]) == (1, 2)
    assert list(distill.keys["teachers"]) == ["medclip"]


def test_without_distillation_it_starts_from_random_weights():
    (train,) = run(Variant("a", (), TRAIN)).stages
    assert train.keys["student_checkpoint"] is None


def test_distillations_follow_each_other():
    first, second, train = run(Variant("a", (ONE, replace(ONE, teachers=("rad_dino",))), TRAIN)).stages
    assert second.keys["student_checkpoint"] == str(first.folder / "student.pt")
    assert train.keys["student_checkpoint"] == str(second.folder / "student.pt")


def test_a_student_can_be_the_teacher_of_the_next():
    def stages(backbone, **given):
        larger, proxy = replace(ONE, keys={"student_backbone": backbone}), replace(ONE, teachers=("proxy",))
        return run(Variant("a", (larger, proxy), TRAIN), scale=replace(SCALE, num_views=4), **given).stages

    first, second, train = stages("efficientvit_b1")
    assert second.keys["teachers"]["proxy"]["checkpoint"] == str(first.folder / "student.pt")
    assert second.keys["student_checkpoint"] is None
    assert (first.fills, second.fills, second.backbone) == (True, False, "efficientvit_b0")
    assert train.keys["student_checkpoint"] == str(second.folder / "student.pt")
    assert second.digest == stages("efficientvit_b1", folder=Path("elsewhere"))[1].digest
    assert second.digest != stages("repvit_m0_9")[1].digest


def test_a_proxy_without_a_distillation_before_is_refused():
    with pytest.raises(ValueError, match="'proxy' is the student of the distillation before"):
        run(Variant("a", (replace(ONE, teachers=("proxy",)),), TRAIN))


def test_retained_distillation_is_told_where_the_heads_are():
    phase = Phase(("distill.json", "train.json", "retain_distillation.json"))
    distill, train = run(Variant("a", (ONE,), phase)).stages
    assert train.keys["distill_dir"] == str(distill.folder)


def test_variants_that_differ_in_phase_2_share_the_distillation_and_nothing_else():
    full, frozen = run(Variant("full", (ONE,), TRAIN)), run(Variant("frozen", (ONE,), FROZEN))
    assert full.stages[0].folder == frozen.stages[0].folder
    assert full.stages[1].folder != frozen.stages[1].folder


def test_names_and_places_change_nothing():
    one = run(Variant("a", (ONE,), TRAIN))
    other = run(Variant("b", (ONE,), TRAIN), folder=Path("elsewhere"), datalist=Path("there/datalist.json"))
    assert one.key == other.key


def test_what_the_config_says_anyway_may_be_said_again():
    plain = run(Variant("a", (Phase(("distill.json",)),), TRAIN))
    said = Phase(("distill.json",), {"student_backbone": "efficientvit_b0"}, ("medsam2", "rad_dino", "medclip"))
    assert run(Variant("a", (said,), TRAIN)).key == plain.key


@pytest.mark.parametrize(
    "other",
    [
        run(Variant("a", (ONE,), TRAIN), seed=1),
        run(Variant("a", (replace(ONE, keys={"batch_size": 2}),), TRAIN)),
        run(Variant("a", (replace(ONE, teachers=("rad_dino",)),), TRAIN)),
        run(Variant("a", (), TRAIN)),
        run(Variant("a", (ONE, ONE), TRAIN)),
        run(Variant("a", (ONE,), FROZEN)),
        run(Variant("a", (ONE,), TRAIN), scale=replace(SCALE, data={"num_train": 3})),
        run(Variant("a", (ONE,), TRAIN), scale=replace(SCALE, phase_1={"epochs": 3})),
        run(Variant("a", (ONE,), TRAIN), teachers={"medclip": {"_target_": "another"}}),
    ],
    ids=["seed", "keys", "teacher", "scratch", "twice", "phase 2", "data", "epochs", "how it is loaded"],
)
def test_whatever_matters_makes_another_run(other):
    assert run(Variant("a", (ONE,), TRAIN)).key != other.key


def test_from_the_store_all_seeds_see_the_same_views_in_one_place():
    scale = replace(SCALE, num_views=4)
    one, other = (run(Variant("a", (ONE,), TRAIN), seed=seed, scale=scale).stages[0] for seed in (0, 1))
    assert one.fills
    assert one.folder != other.folder
    for key in ("store_dir", "num_views", "views::seed"):
        assert one.keys[key] == other.keys[key]
    assert "cache_features.json" in " ".join(one.filling.command())


def test_live_teachers_and_stored_ones_are_different_runs():
    variant = Variant("a", (ONE,), TRAIN)
    live, stored = run(variant), run(variant, scale=replace(SCALE, num_views=1))
    assert not live.stages[0].fills
    assert live.key != stored.key


def test_every_variant_is_run_once_before_any_is_run_twice():
    study = EvidenceStudy("study", "T", "Q", "P", "a", (Variant("a", (), TRAIN), Variant("b", (ONE,), TRAIN)))
    assert [(run.variant, run.seed) for run in planner().runs(study)] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_a_share_of_the_epochs_is_rounded_and_never_none():
    scale = replace(SCALE, phase_1={"epochs": 9})
    for share, epochs in ((1 / 3, 3), (0.01, 1), (1.0, 9)):
        (stage, _) = run(Variant("a", (replace(ONE, share=share),), TRAIN), scale=scale).stages
        assert stage.keys["epochs"] == epochs


def test_other_data_are_another_run_and_are_told_where_they_are():
    other = Variant("a", (replace(ONE, data="mixed"),), TRAIN)
    stage = run(other, others={"mixed": Path("mixed.json")}).stages[0]
    assert stage.keys["datalist"] == "mixed.json"
    assert stage.data == "mixed"
    assert (
        run(other).key
        == run(other, others={"mixed": Path("elsewhere.json")}).key
        != run(Variant("a", (ONE,), TRAIN)).key
    )


def test_the_evaluation_is_of_a_split_and_of_the_trained_model():
    stage = run(Variant("a", (), TRAIN)).stages[-1]
    command = " ".join(stage.evaluation("hard_test").command())
    assert f"--checkpoint {stage.folder / 'model.pt'}" in command
    assert "--validate::section hard_test" in command
    assert "evaluating" in command


def test_descriptions_imports_and_logging_change_nothing(monkeypatch):
    variant = Variant("a", (ONE,), TRAIN)
    before = run(variant).key
    read = plan.json.loads

    def loads(text, **how):
        content = read(text, **how)
        if "student" not in content:
            return content
        return {
            **content,
            "_desc_new_": "word",
            "imports": [],
            "parameters": "other",
            "student": {**content["student"], "_desc_": "w"},
        }

    monkeypatch.setattr(plan.json, "loads", loads)
    assert run(variant).key == before
    monkeypatch.setattr(plan.json, "loads", lambda text, **how: {**read(text, **how), "gradient_clip": 1.0})
    assert run(variant).key != before
