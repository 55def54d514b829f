"""The command lines of docs/how-to/clusters.md, in two processes: each runs to its end and writes one set of files."""

import subprocess
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(torchrun, tmp_path_factory):
    """Run a stack of configs on the tiny phantom, in two processes."""
    folder = tmp_path_factory.mktemp("command_lines")

    def run_bundle(*configs: str, output: str, **overrides: str):
        files = str([f"configs/{name}.json" for name in configs])
        settings = {"dataset_dir": folder / "phantom", "output_dir": folder / output, **overrides}
        arguments = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        arguments += ["--meta_file", "configs/metadata.json", "--logging_file", "configs/logging.conf"]
        return torchrun("-m", "monai.bundle", "run", "training", "--config_file", files, *arguments), folder / output

    return run_bundle


@pytest.fixture(scope="module")
def distilled(run) -> Path:
    result, folder = run("distill", "smoke", output="distill")
    assert result.returncode == 0, errors(result) or result.stderr[-6000:]
    return folder


def errors(result: subprocess.CompletedProcess) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


def check_one_set_of_files(folder: Path, names: set[str]) -> None:
    """The run's files are there, no other, and MLflow has one run with the metric of every validation once."""
    assert {path.name for path in folder.iterdir()} == names | {
        ".lock",
        "checkpoints",
        "config.json",
        "mlflow.json",
        "mlruns",
        "mlruns.db",
    }
    client = MlflowClient(f"sqlite:///{folder}/mlruns.db")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    metric = "val_loss" if "heads.pt" in names else "val_mean_dice"
    assert len(client.get_metric_history(run.info.run_id, metric)) == 1
    assert run.info.status == "FINISHED"


def test_phase_1_writes_one_set_of_files(distilled):
    weights = {"student.pt", "student.json", "heads.pt", "heads.json"}
    check_one_set_of_files(distilled, weights | {"statistics.safetensors", "pictures"})
    assert torch.load(distilled / "checkpoints" / "last.pt", weights_only=True)["settings"]["processes"] == 2
    names = torch.load(distilled / "student.pt", weights_only=True).keys()
    assert all(name.startswith("image_encoder.") for name in names)


def test_phase_2_goes_on_from_it(run, distilled):
    checkpoint = str(distilled / "student.pt")
    result, folder = run("train", "smoke", output="train", student_checkpoint=checkpoint)
    assert result.returncode == 0, errors(result) or result.stderr[-6000:]
    check_one_set_of_files(folder, {"model.pt", "model.json"})


def test_an_error_of_the_first_process_is_shown_once_and_ends_all(run, distilled):
    result, _ = run("distill", "smoke", output="failed", **{"datalist::num_train": "-1"})
    assert result.returncode != 0
    assert errors(result) == [
        "error: a data set needs counts >= 0, no more than 100000 patients and at least one patient, "
        "got num_train -1, num_validation 1, num_test 1, num_hard_test 0, num_hard_train 0"
    ]
