"""Every stage, one after the other, from its own config on a tiny synthetic data set."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from monai.bundle import ConfigWorkflow

from bundle.engines.tracking import RunAddress
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

pytestmark = pytest.mark.slow


class Run:
    """Runs one stack of configs in this process and checks what MONAI's tools look for in it."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder

    def __call__(self, *names: str, run_id: str = "training", kind: str = "train", **overrides) -> ConfigWorkflow:
        workflow = ConfigWorkflow(
            config_file=[str(CONFIGS / f"{name}.json") for name in names],
            meta_file=str(CONFIGS / "metadata.json"),
            logging_file=False,
            run_id=run_id,
            workflow_type=kind,
            bundle_root=str(self.root),
            **overrides,
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
        return workflow

    def path(self, *parts: str) -> str:
        return str(self.folder.joinpath(*parts))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    root = CONFIGS.parent
    sys.path.insert(0, str(root))
    yield Run(root, tmp_path_factory.mktemp("flow"))
    sys.path.remove(str(root))


@pytest.fixture(scope="module")
def distilled(run, mlflow_server) -> ConfigWorkflow:
    return run(
        "distill",
        "smoke",
        dataset_dir=run.path("phantom"),
        output_dir=run.path("distill"),
        tracking_uri=mlflow_server,
    )


@pytest.fixture(scope="module")
def trained(run, distilled) -> ConfigWorkflow:
    return run(
        "train",
        "smoke",
        dataset_dir=run.path("phantom"),
        output_dir=run.path("train"),
        student_checkpoint=run.path("distill", "student.pt"),
    )


@pytest.fixture(scope="module")
def evaluated(run, trained) -> Path:
    run(
        "train",
        "smoke",
        "evaluate",
        run_id="evaluating",
        dataset_dir=run.path("phantom"),
        output_dir=run.path("evaluate"),
        checkpoint=run.path("train", "model.pt"),
    )
    return Path(run.path("evaluate"))


def test_fine_tuning_starts_from_a_whole_segmenter(run, trained):
    run(
        "train",
        "fine_tune",
        "smoke",
        dataset_dir=run.path("phantom"),
        output_dir=run.path("fine_tune"),
        segmenter_checkpoint=run.path("train", "model.pt"),
        encoder_learning_rate=1e-6,
        decoder_learning_rate=1e-6,
    )
    before = torch.load(run.path("train", "model.pt"), weights_only=True)
    after = torch.load(run.path("fine_tune", "model.pt"), weights_only=True)
    parameters = [name for name, value in before.items() if value.is_floating_point() and "running" not in name]
    changes = [float((after[name] - before[name]).abs().max()) for name in parameters]
    assert 0 < max(changes) < 1e-4


@pytest.fixture(scope="module")
def inferred(run, trained) -> Path:
    patient = json.loads(Path(run.path("phantom", "datalist.json")).read_text())["test"][0]
    run(
        "inference",
        run_id="run",
        kind="infer",
        input=run.path("phantom", patient["image"]),
        output_dir=run.path("inference"),
        checkpoint=run.path("train", "model.pt"),
        writes_refused=True,  # of hardly any training
    )
    return Path(run.path("inference"))


def test_distillation_saves_a_student_and_a_picture_of_features(run, distilled):
    assert Path(run.path("distill", "student.pt")).is_file()
    assert list(Path(run.path("distill", "pictures")).glob("features_*.png"))


def test_distillation_validates_every_teacher(distilled):
    metrics = distilled.parser.get_parsed_content("validate::evaluator").state.metrics
    assert set(metrics) == {
        "val_loss",
        "val_collapse",
        *(
            f"val_{kind}_{name}"
            for kind in ("loss", "cosine", "unexplained")
            for name in ("medsam2", "rad_dino", "medclip")
        ),
    }
    assert all(np.isfinite(value) for value in metrics.values())


def test_no_teacher_is_in_the_network_the_optimizer_or_the_checkpoint(run, distilled):
    teachers = distilled.parser.get_parsed_content("teachers")
    frozen = {id(parameter) for teacher in teachers.values() for parameter in teacher.parameters()}
    optimizer = distilled.parser.get_parsed_content("optimizer")
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert frozen
    assert not frozen & trained
    assert all(teacher.is_frozen and all(p.grad is None for p in teacher.parameters()) for teacher in teachers.values())
    saved = torch.load(run.path("distill", "student.pt"), weights_only=True)
    assert set(saved) == set(distilled.parser.get_parsed_content("student").state_dict())


def test_phase_2_starts_from_phase_1s_student_and_changes_it(run, trained):
    before = torch.load(run.path("distill", "student.pt"), weights_only=True)
    after = torch.load(run.path("train", "model.pt"), weights_only=True)
    changed = [name for name, value in before.items() if not torch.equal(value, after[f"student.{name}"])]
    assert changed
    # One short epoch at this learning rate moves weights a little; other random weights would be far away.
    weights = [name for name in before if name.endswith("weight") and before[name].ndim == 4]
    distance = max(float((before[name] - after[f"student.{name}"]).abs().max()) for name in weights)
    assert distance < 0.05


def test_phase_2_can_retain_phase_1s_loss_and_saves_the_segmenter_alone(run, trained):
    workflow = run(
        "distill",
        "train",
        "retain_distillation",
        "smoke",
        dataset_dir=run.path("phantom"),
        output_dir=run.path("retained"),
        distill_dir=run.path("distill"),
    )
    terms = workflow.parser.get_parsed_content("loss").latest
    assert {"loss/mask", "loss/prompted_mask", "loss/medsam2", "loss/rad_dino", "loss/medclip"} <= set(terms)
    heads = workflow.parser.get_parsed_content("heads")
    before = torch.load(run.path("distill", "heads.pt"), weights_only=True)
    trained_on = {f"heads.{name}": value for name, value in heads.state_dict().items()}
    assert any(not torch.equal(before[name], value) for name, value in trained_on.items())
    teachers = workflow.parser.get_parsed_content("teachers")
    assert all(teacher.is_frozen for teacher in teachers.values())
    saved = torch.load(run.path("retained", "model.pt"), weights_only=True)
    assert set(saved) == set(torch.load(run.path("train", "model.pt"), weights_only=True))


def test_the_saved_model_gives_the_same_masks_after_loading(run, trained):
    network: Segmenter = trained.parser.get_parsed_content("network_def").eval()
    frames = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = network(frames)
        saved = torch.load(run.path("train", "model.pt"), weights_only=True)
        network.load_state_dict({name: torch.zeros_like(value) for name, value in saved.items()})
        network.load_state_dict(saved)
        torch.testing.assert_close(network(frames), expected, rtol=0, atol=0)


def test_mlflow_has_steps_epochs_parameters_and_the_config_but_no_patient(run, trained):
    client = MlflowClient(f"sqlite:///{run.path('train', 'mlruns.db')}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "train"]
    (record,) = client.search_runs([experiment.experiment_id])
    assert {"loss", "loss/mask", "loss/prompted_mask", "val_mean_dice"} <= set(record.data.metrics)
    axes = [
        {entry.step for entry in client.get_metric_history(record.info.run_id, n)} for n in ("loss", "val_mean_dice")
    ]
    assert axes[1] <= axes[0]
    assert record.data.params["encoder_training"] == "full"
    assert record.info.status == "FINISHED"
    inputs = [entry.to_dictionary() for entry in record.inputs.dataset_inputs]
    text = json.dumps([record.data.params, record.data.tags, sorted(record.data.metrics), inputs])
    patients = [
        item["patient"] for item in json.loads(Path(run.path("phantom", "datalist.json")).read_text())["training"]
    ]
    assert patients
    assert not any(patient in text for patient in patients)


def test_a_tracking_server_gets_balancing_validation_and_pictures(distilled, mlflow_server):
    client = MlflowClient(mlflow_server)
    (experiment,) = [e for e in client.search_experiments() if e.name == "distill"]
    (record,) = client.search_runs([experiment.experiment_id])
    assert {"loss", "weight_entropy", "weight/medclip", "loss/rad_dino", "val_cosine_medsam2"} <= set(
        record.data.metrics
    )
    assert record.data.params["balancer"] == "AttentionEntropyFloor"
    artifacts = [artifact.path for artifact in client.list_artifacts(record.info.run_id)]
    assert any(path.startswith("features_") for path in artifacts)
    model = {artifact.path for artifact in client.list_artifacts(record.info.run_id, "model")}
    assert model == {"model/student.pt", "model/student.json", "model/heads.pt", "model/heads.json"}


def test_evaluation_writes_a_row_per_patient_and_structure(evaluated):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert list(metrics["dice"]) == list(STRUCTURES)
    rows = (evaluated / "metrics.csv").read_text().strip().splitlines()
    assert len(rows) == 1 + 1 * len(STRUCTURES)
    assert (evaluated / "metrics.png").stat().st_size > 1000
    assert (evaluated / "examples.png").stat().st_size > 1000


def test_an_evaluation_is_in_the_trainings_run(run, evaluated):
    address = RunAddress.read(run.path("train"))
    record = MlflowClient(address.tracking_uri).get_run(address.run_id)
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert record.data.metrics["test/mean_dice"] == pytest.approx(metrics["mean_dice"])
    assert {f"test/dice/{name}" for name, value in metrics["dice"].items() if value is not None} <= set(
        record.data.metrics
    )
    assert not (evaluated / "mlruns.db").exists()


def test_inference_writes_masks_and_a_video(inferred):
    assert list(inferred.rglob("*.nii.gz"))
    assert list(inferred.rglob("*.mp4"))
