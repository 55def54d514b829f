"""The model zoo's checks: properties, workflows, and metadata of the bundle as it is."""

import json
import sys

import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, load, verify_net_in_out
from torch.jit.frontend import NotSupportedError

from bundle.phantom import generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def as_in_a_process_of_its_own(monkeypatch, tmp_path, repository):
    """No command line of pytest's for the preflight to look at; MONAI puts the bundle's root on the path."""
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def workflow(repository, tmp_path):
    """Makes the workflow of some configs, its files in the test's folder."""

    def make(*configs: str, workflow_type: str, run_id: str, **overrides) -> ConfigWorkflow:
        return ConfigWorkflow(
            config_file=[str(repository / "configs" / name) for name in configs],
            workflow_type=workflow_type,
            run_id=run_id,
            bundle_root=str(repository),
            output_dir=str(tmp_path / "out"),
            **overrides,
        )

    return make


@pytest.fixture
def inference(workflow, tmp_path, model_file):
    write_dicom(generate_study(seed=3, size=64, num_frames=2), tmp_path / "cine.dcm", patient="p1")
    arguments = {"input": str(tmp_path / "cine.dcm"), "outputs": ["areas"], "checkpoint": str(model_file)}
    arguments |= {"writes_refused": True}  # 64 x 64 pixels, or random weights, may show no neck
    return workflow("inference.json", workflow_type="inference", run_id="run", **arguments)


def test_inference_has_the_properties_and_runs(inference, tmp_path):
    inference.initialize()
    assert inference.check_properties() == []
    inference.run()
    inference.finalize()
    assert len(list((tmp_path / "out").glob("*/areas.csv"))) == 1


def test_distillation_has_the_properties(workflow, tmp_path):
    configs = ["distill.json", "smoke.json"]
    distillation = workflow(*configs, workflow_type="train", run_id="training", dataset_dir=str(tmp_path / "data"))
    distillation.initialize()
    assert distillation.check_properties() == []


def test_training_and_evaluation_have_the_properties_and_run(workflow, tmp_path):
    data = {"dataset_dir": str(tmp_path / "data")}
    configs = ["train.json", "no_distillation.json", "smoke.json"]
    training = workflow(*configs, workflow_type="train", run_id="training", **data)
    training.initialize()
    assert training.check_properties() == []
    training.run()
    training.finalize()
    model = str(tmp_path / "out" / "model.pt")
    evaluation = workflow(
        "train.json",
        "smoke.json",
        "evaluate.json",
        workflow_type="train",
        run_id="evaluating",
        checkpoint=model,
        **data,
    )
    evaluation.initialize()
    assert evaluation.check_properties() == []
    evaluation.run()
    evaluation.finalize()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["dice"].keys() == set(STRUCTURES)


def test_monai_loads_the_network_with_its_weights_from_anywhere(repository):
    """Nothing of a run is needed, neither an input nor a folder to write to."""
    options = {"name": repository.name, "bundle_dir": str(repository.parent), "device": "cpu"}
    network = load(**options, workflow_type="inference")
    state = torch.load(repository / "models" / "model.pt", weights_only=True)
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_the_network_takes_and_gives_what_the_metadata_say(repository, monkeypatch):
    monkeypatch.chdir(repository)
    files = {
        "meta_file": str(repository / "configs" / "metadata.json"),
        "config_file": str(repository / "configs" / "inference.json"),
    }
    verify_net_in_out(net_id="network_def", device="cpu", **files)
    override = {"_meta_::network_data_format::outputs::pred::num_channels": 13}
    with pytest.raises(ValueError, match="channel number `12` doesn't match: `13`"):
        verify_net_in_out(net_id="network_def", device="cpu", **files, **override)


def test_it_cannot_be_scripted_so_the_zoo_has_to_list_it(repository, monkeypatch):
    """docs/reference/bundle.md says so; test_site.py exports it by tracing."""
    monkeypatch.chdir(repository)
    files = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}
    with pytest.raises(NotSupportedError, match="variable number of arguments"):
        ckpt_export(net_id="network_def", filepath="unwritten.ts", ckpt_file="models/model.pt", **files)
    assert not (repository / "unwritten.ts").exists()


def test_the_metadata_state_what_a_reader_needs(repository):
    metadata = json.loads((repository / "configs" / "metadata.json").read_text())
    for key in ("task", "description", "authors", "copyright", "data_source", "data_type", "intended_use"):
        assert len(metadata[key]) > 10, key
    assert "not a medical device" in metadata["intended_use"].lower()
    (image,), (pred,) = (metadata["network_data_format"][kind].values() for kind in ("inputs", "outputs"))
    assert image["spatial_shape"] == pred["spatial_shape"]
    assert (image["num_channels"], image["value_range"], pred["num_channels"]) == (1, [0, 1], len(STRUCTURES))
    assert list(image["channel_def"]) == ["0"]
    assert metadata["schema"].endswith("meta_schema_20240725.json")
