"""Exported models give the masks of the model that they were made from, on real frames of the phantom."""

import json

import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export, onnx_export, verify_net_in_out

from bundle.phantom import generate_study
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

SIZE = 64
TOLERANCE = 1e-4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.from_numpy(generate_study(seed=5, size=SIZE, num_frames=3).frames)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), STRUCTURES, SIZE).eval()


@pytest.fixture
def export_arguments(segmenter, tmp_path, bundle_root) -> dict:
    torch.save(segmenter.state_dict(), tmp_path / "model.pt")
    config = json.loads((bundle_root / "configs" / "inference.json").read_text())
    (tmp_path / "inference.json").write_text(json.dumps({**config, "image_size": SIZE}))
    return {
        "net_id": "network_def",
        "ckpt_file": str(tmp_path / "model.pt"),
        "meta_file": str(bundle_root / "configs" / "metadata.json"),
        "config_file": str(tmp_path / "inference.json"),
        "input_shape": [1, 1, SIZE, SIZE],
    }


@torch.no_grad()
def test_torchscript_gives_the_same_logits(segmenter, frames, export_arguments, tmp_path):
    ckpt_export(filepath=str(tmp_path / "model.ts"), use_trace=True, **export_arguments)
    exported = torch.jit.load(tmp_path / "model.ts")
    for frame in frames:
        torch.testing.assert_close(exported(frame[None]), segmenter(frame[None]), rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_onnx_gives_the_same_logits(segmenter, frames, export_arguments, tmp_path):
    import onnxruntime

    onnx_export(filepath=str(tmp_path / "model.onnx"), **export_arguments)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (name,) = [entry.name for entry in session.get_inputs()]
    for frame in frames:
        (logits,) = session.run(None, {name: frame[None].numpy()})
        np.testing.assert_allclose(logits, segmenter(frame[None]).numpy(), rtol=0, atol=TOLERANCE)


def test_the_networks_input_and_output_are_what_the_metadata_says(bundle_root):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle_root / "configs" / "metadata.json"),
        config_file=str(bundle_root / "configs" / "inference.json"),
        device="cpu",
    )
