"""What a student costs: parameters, operations per frame, and the frames per second that the benchmarks measured."""

import json
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from bundle.laboratory.studies.knowledge import read_student
from bundle.paths import ROOT
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES

IMAGE_SIZE = 512
"""Of a deployed segmenter."""
BENCHMARKS = ROOT / "docs" / "benchmarks.json"


def describe_costs(backbone: str, benchmarks: Path = BENCHMARKS) -> dict[str, float]:
    """Costs of the automatic masks of all structures on one 512 x 512 frame.

    Args:
        backbone: timm's name of the student's trunk.
        benchmarks: Of ``make bench``; a student that is not in it has no speed.

    Returns:
        ``parameters``, ``FLOPs`` (a multiplication and an addition are two), and, where measured, ``frames/s``: of
        OpenVINO in float32 on that machine's processor.
    """
    segmenter = Segmenter(read_student(None, backbone, seed=0), STRUCTURES, IMAGE_SIZE).eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        segmenter(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    parameters = sum(parameter.numel() for parameter in segmenter.parameters())
    costs = {"parameters": float(parameters), "FLOPs": float(counter.get_total_flops())}
    return costs | _speed(backbone, benchmarks)


def _speed(backbone: str, benchmarks: Path) -> dict[str, float]:
    sections = json.loads(benchmarks.read_text(encoding="utf-8")) if benchmarks.is_file() else {}
    rows = sections.get("deployment", {}).get("rows", [])
    wanted = {"network": backbone, "runtime": "openvino", "precision": "float32"}
    speeds = [row["frames/s"] for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    return {"frames/s": speeds[0]} if speeds else {}
