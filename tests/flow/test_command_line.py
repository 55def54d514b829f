"""What a person sees who gives a wrong path or a wrong key: one line, before anything is built."""

import shutil
import socket
import subprocess
import sys

import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture
def run(bundle_root, tmp_path):
    def run_bundle(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
        command += ["--bundle_root", str(bundle_root), "--output_dir", str(tmp_path / "run")]
        command += ["--logging_file", str(bundle_root / "configs" / "logging.conf")]
        command += ["--meta_file", str(bundle_root / "configs" / "metadata.json")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)

    return run_bundle


def last_line(result: subprocess.CompletedProcess) -> str:
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_a_misspelt_key(run, bundle_root):
    result = run("training", "--config_file", str(bundle_root / "configs" / "train.json"), "--epochz", "3")
    assert last_line(result) == "error: unknown config key 'epochz' in the command line; did you mean 'epochs'?"


def test_phase_2_without_phase_1(run, bundle_root, tmp_path):
    student = tmp_path / "nowhere" / "student.pt"
    config = str(bundle_root / "configs" / "train.json")
    line = last_line(run("training", "--config_file", config, "--student_checkpoint", str(student)))
    assert line.startswith("error: not found: ")
    assert "if a stage makes it, run that first" in line


def test_a_data_list_that_is_not_there(run, bundle_root, tmp_path):
    configs = [str(bundle_root / "configs" / name) for name in ("train.json", "no_distillation.json")]
    line = last_line(run("training", "--config_file", str(configs), "--datalist", str(tmp_path / "list.json")))
    assert "list.json" in line


def test_a_checkpoint_of_another_network(run, bundle_root, tmp_path):
    Image.new("L", (64, 64)).save(tmp_path / "frame.png")
    torch.save({"student.weight": torch.zeros(3)}, tmp_path / "model.pt")
    shutil.copy(bundle_root / "models" / "model.json", tmp_path)
    config = str(bundle_root / "configs" / "inference.json")
    arguments = ["--checkpoint", str(tmp_path / "model.pt"), "--input", str(tmp_path / "frame.png")]
    line = last_line(run("run", "--config_file", config, *arguments))
    assert "model.pt does not fit Segmenter" in line


def test_an_mlflow_server_that_is_away(run, bundle_root, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    configs = [str(bundle_root / "configs" / name) for name in ("train.json", "no_distillation.json")]
    arguments = ["--tracking_uri", address, "--dataset_dir", str(tmp_path / "phantom")]
    line = last_line(run("training", "--config_file", str(configs), *arguments))
    assert line.startswith(
        f"error: MLflow cannot be used at {address} ([Errno 111] Connection refused): start its server"
    )
    assert not (tmp_path / "phantom").exists()  # nothing was made before
