"""The shipped model at a smaller frame size with its exported files, made once for all tests of this folder."""

import json
from pathlib import Path

import pytest
import torch

from bundle.phantom import PhantomStudy, generate_study
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

SIZE = 384
"""Smaller than the model was trained at, for the time, and large enough for it to find the structures."""
SHIPPED = Path(__file__).resolve().parents[3] / "models" / "model.pt"


@pytest.fixture(scope="session")
def card() -> dict:
    """What the shipped model is; a like one with random weights where it is not made yet."""
    path = SHIPPED.with_suffix(".json")
    if SHIPPED.is_file() and path.is_file():
        return json.loads(path.read_text())
    return {"student_backbone": "efficientvit_b0", "embed_dim": 256, "structures": list(STRUCTURES)}


@pytest.fixture(scope="session")
def segmenter(card) -> Segmenter:
    torch.manual_seed(0)
    student = StudentEncoder(TimmTrunk(card["student_backbone"]), card["embed_dim"])
    return Segmenter(student, card["structures"], SIZE).eval()


@pytest.fixture(scope="session")
def checkpoint(segmenter, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runtimes") / "model.pt"
    if SHIPPED.is_file():
        path.write_bytes(SHIPPED.read_bytes())
    else:
        torch.save(segmenter.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def study() -> PhantomStudy:
    """Of a patient that no training has seen."""
    return generate_study(seed=700_000_000, size=SIZE, num_frames=4)


@pytest.fixture(scope="session")
def frames(study) -> torch.Tensor:
    return torch.from_numpy(study.frames)
