"""MLflow's page of a run answers: which code, which data, which model, how good; and names no patient."""

import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from mlflow import MlflowClient
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from bundle.engines.handlers import EvaluationReport
from bundle.engines.prepare_batch import prepare_evaluation_batch
from bundle.engines.run_log import EvaluationLog, RunLog, git_commit
from bundle.engines.save_weights import SaveWeights
from bundle.engines.tracking import RunAddress, prepare_tracking, sqlite_uri, training_run
from bundle.weights import file_sha256

PATIENT = "Erika_Mustermann"
FRAMES = [
    {
        "image": torch.ones(1, 8, 8),
        "label": torch.ones(2, 8, 8) * torch.tensor([1.0, 0.0])[:, None, None],
        "valid": torch.ones(1, 8, 8),
        "patient": PATIENT,
        "clip": f"{PATIENT}_1",
        "frame": index,
        "pixel_spacing_mm": torch.tensor([0.5, 0.5]),
    }
    for index in range(3)
]


class Loss(nn.Module):
    @property
    def latest(self):
        return {"loss/mask": 0.25}

    def forward(self, pred, _label):
        return pred.square().mean()


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(5.0))

    def forward(self, image):
        return self.value * torch.ones(len(image), 2, 8, 8)


class Training:
    """Two epochs of three steps each, with a validation after each."""

    def __init__(
        self, uri: str, folder: Path, experiment: str = "train", begin=lambda _engine: None, pictures=None
    ) -> None:
        self.folder = folder
        network, loss = Constant(), Loss()
        validator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(FRAMES, batch_size=3),
            network=network,
            prepare_batch=prepare_evaluation_batch,
            decollate=False,
        )
        validator.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(val_loss=0.5))
        card = {"image_size": 8, "structures": ["bolus", "C5 C6"]}
        log = RunLog(
            RunAddress(uri, experiment),
            output_dir=folder,
            datalist=datalist(folder),
            validator=validator,
            log_every=1,
            weights=["model.pt"],
        )
        log.parameters = lambda: {"batch_size": 1}
        (folder / "config.json").write_text("{}")
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=2,
            train_data_loader=DataLoader(FRAMES, batch_size=1),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.25),
            loss_function=loss,
            train_handlers=[SaveWeights(network, folder / "model.pt", card), log],
            decollate=False,
        )
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: validator.run())
        self.begin = begin

    def run(self) -> "Training":
        self.begin(self.trainer)
        self.trainer.run()
        return self

    def evaluate(self, uri: str | None = None, name: str | None = None) -> None:
        checkpoint, output_dir = self.folder / "model.pt", self.folder / "evaluate"
        known = training_run(checkpoint, output_dir)
        log = EvaluationLog(
            training_run=known,
            tracking_uri=uri or known.tracking_uri,
            experiment_name=known.experiment_name,
            run_name=name,
            checkpoint=checkpoint,
            datalist=datalist(self.folder),
            section="test",
            output_dir=output_dir,
        )
        SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(FRAMES, batch_size=3),
            network=Constant(),
            prepare_batch=prepare_evaluation_batch,
            val_handlers=[EvaluationReport(["bolus", "C5 C6"], output_dir, log)],
            decollate=False,
        ).run()


def datalist(folder: Path) -> Path:
    sections = {
        section: [{"patient": f"{PATIENT}_{section}", "image": f"{section}.png", "label": f"{section}_mask.png"}]
        for section in ("training", "validation", "test")
    }
    (folder / "datalist.json").write_text(json.dumps({"structures": ["bolus", "C5 C6"], **sections}))
    return folder / "datalist.json"


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return prepare_tracking(sqlite_uri(tmp_path_factory.mktemp("50% ä?") / "mlruns.db"), "train")


@pytest.fixture(scope="module")
def training(uri, tmp_path_factory) -> Training:
    training = Training(uri, tmp_path_factory.mktemp("train")).run()
    training.evaluate()
    return training


@pytest.fixture(scope="module")
def record(training):
    address = RunAddress.read(training.folder)
    return MlflowClient(address.tracking_uri).get_run(address.run_id)


def steps(uri: str, run_id: str, name: str) -> list[int]:
    return [entry.step for entry in MlflowClient(uri).get_metric_history(run_id, name)]


def test_losses_and_validation_have_one_axis(uri, record):
    assert steps(uri, record.info.run_id, "loss") == [1, 2, 3, 4, 5, 6]
    assert steps(uri, record.info.run_id, "loss/mask") == [1, 2, 3, 4, 5, 6]
    assert steps(uri, record.info.run_id, "val_loss") == [3, 6]
    assert record.data.metrics["lr_group_0"] == 0.25


def test_which_code(record, bundle_root):
    version = json.loads((bundle_root / "configs" / "metadata.json").read_text())["version"]
    assert record.data.tags["bundle_version"] == version
    assert record.data.tags.get("mlflow.source.git.commit") == git_commit(bundle_root)
    assert record.data.params["batch_size"] == "1"


def test_which_data(training, record):
    inputs = {entry.tags[0].value: entry.dataset for entry in record.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation", "test"}
    digest = file_sha256(training.folder / "datalist.json")
    assert all(digest.startswith(dataset.digest) for dataset in inputs.values())
    assert json.loads(inputs["training"].profile) == {"clips": 1, "patients": 1}


def test_which_model(training, uri, record):
    client = MlflowClient(uri)
    names = {artifact.path for artifact in client.list_artifacts(record.info.run_id, "model")}
    assert names == {"model/model.pt", "model/model.json"}
    assert record.data.tags["model_sha256"] == file_sha256(training.folder / "model.pt")
    assert "config.json" in {artifact.path for artifact in client.list_artifacts(record.info.run_id)}


@pytest.mark.parametrize(
    ("marked", "tracked"), [({"synthetic": True}, True), ({"synthetic": False}, False), ({}, False)]
)
def test_pictures_of_patients_do_not_go_to_mlflow(tmp_path, marked, tracked):
    path = datalist(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **marked}))
    assert RunLog(RunAddress("sqlite:///x.db", "train"), tmp_path, path, validator=None).pictures is tracked


def test_how_good_on_the_test(uri, record):
    metrics = {name: value for name, value in record.data.metrics.items() if name.startswith("test/")}
    assert metrics == {
        "test/mean_dice": 1.0,
        "test/mean_hd95_mm": 0.0,
        "test/dice/bolus": 1.0,
        "test/hd95_mm/bolus": 0.0,
    }  # no frame has the other structure
    assert record.data.tags["evaluated_sha256"] == record.data.tags["model_sha256"]
    files = {artifact.path for artifact in MlflowClient(uri).list_artifacts(record.info.run_id, "test")}
    assert files == {"test/metrics.json", "test/metrics.png"}


def test_how_busy_the_machine_was(record):
    assert record.data.metrics["system/system_memory_usage_megabytes"] > 0
    assert "system/cpu_utilization_percentage" in record.data.metrics


def test_the_run_has_ended_and_an_evaluation_does_not_change_when(record):
    assert record.info.status == "FINISHED"
    assert 0 < record.info.end_time - record.info.start_time < 600_000


def test_no_patient_and_no_folder_is_in_it(training, uri, record):
    known = [record.data.to_dictionary(), [entry.to_dictionary() for entry in record.inputs.dataset_inputs]]
    text = json.dumps(known)
    assert PATIENT not in text
    assert str(training.folder) not in text
    artifacts = Path(record.info.artifact_uri.removeprefix("file://").replace("%25", "%").replace("%3F", "?"))
    assert not [path for path in artifacts.rglob("*.json") if PATIENT in path.read_text()]


def test_a_resumed_training_goes_on_in_its_run_and_another_begins_its_own(uri, tmp_path):
    def resume(engine):
        engine.state.iteration, engine.state.epoch, engine.state.epoch_length, engine.state.max_epochs = 3, 1, 3, 2

    for folder, begin, num_runs in (("a", None, 1), ("a", resume, 1), ("a", None, 2), ("b", None, 3)):
        (tmp_path / folder).mkdir(exist_ok=True)
        Training(uri, tmp_path / folder, "resumed", begin or (lambda _engine: None)).run()
        client = MlflowClient(uri)
        runs = client.search_runs([client.get_experiment_by_name("resumed").experiment_id])
        assert len(runs) == num_runs
        assert {run.info.status for run in runs} == {"FINISHED"}


def test_an_evaluation_elsewhere_or_under_a_name_has_a_run_of_its_own(training, uri, record):
    training.evaluate(name="once more")
    client = MlflowClient(uri)
    (own,) = client.search_runs([record.info.experiment_id], "attributes.run_name = 'once more'")
    assert own.data.metrics["test/mean_dice"] == 1.0
    assert own.info.status == "FINISHED"
    assert "bundle_version" in own.data.tags


def test_the_commit_is_of_the_bundles_own_clone_and_says_whether_files_were_changed(tmp_path):
    (tmp_path / "bundle").mkdir()
    assert git_commit(tmp_path / "bundle") is None
