"""A small segmenter for all tests of this folder."""

import pytest
import torch

from bundle.segmentation.segmenter import Segmenter
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

STRUCTURES = ("bolus", "hyoid", "c2")


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), STRUCTURES, image_size=64).eval()
