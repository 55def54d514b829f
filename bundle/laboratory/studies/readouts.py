"""What is read from a student: what it knows of its teachers, how they were weighed, and what it costs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from monai.bundle import ConfigParser
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bundle.engines.tracking import sqlite_uri
from bundle.losses.distillation import COLLAPSED
from bundle.paths import ROOT
from bundle.phantom import generate_study
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.students.weights import load_student
from bundle.teachers.base import Teacher
from bundle.teachers.similarity import resize_features

FIRST_SEED = 36_000_000
"""Of the synthetic patients; no training uses them."""
NUM_FITTED, NUM_HELD_OUT, NUM_FRAMES = 16, 8, 4
RIDGE = 1e-2
"""Penalty, relative to the mean variance of a student's channel."""

STRIDE = 16


class TeacherProbe:
    """Teachers' features of fixed synthetic frames, to be predicted from a student's embedding by ridge regression."""

    def __init__(self, teachers: Mapping[str, Any], image_size: int) -> None:
        self.frames = torch.cat([_frames(patient, image_size) for patient in range(NUM_FITTED + NUM_HELD_OUT)])
        self.grid_size = image_size // STRIDE
        parser = ConfigParser({"bundle_root": str(ROOT), "teachers": dict(teachers)})
        self.targets = {
            name: self._rows(_features(teacher, self.frames))
            for name, teacher in parser.get_parsed_content("teachers").items()
        }

    def unexplained(self, student: StudentEncoder) -> dict[str, float]:
        """Share of each teacher's variance on held-out patients that a linear map of the embedding does not explain.

        Args:
            student: In any mode; it is left in evaluation mode.

        Returns:
            By teacher: 0 is all known, 1 is no better than the teacher's mean.
        """
        student.eval()
        with torch.no_grad():
            embedding = torch.cat([student.embed(batch) for batch in self.frames.split(16)])
        inputs = self._rows(embedding)
        return {name: unexplained_share(inputs, targets, self._num_fitted) for name, targets in self.targets.items()}

    @property
    def _num_fitted(self) -> int:
        return NUM_FITTED * NUM_FRAMES * self.grid_size**2

    def _rows(self, features: Tensor) -> Tensor:  # (B, C, h, w) -> (B * g * g, C)
        return resize_features(features.double(), self.grid_size).flatten(2).transpose(1, 2).flatten(0, 1)


def unexplained_share(inputs: Tensor, targets: Tensor, num_fitted: int) -> float:
    """Fit ``targets`` linearly from ``inputs`` on the first rows, and measure the error on the others."""
    fitted, known = inputs[:num_fitted].numpy(), targets[:num_fitted].numpy()
    penalty = RIDGE * num_fitted * fitted.var(axis=0).mean()
    found = Ridge(alpha=penalty).fit(fitted, known).predict(inputs[num_fitted:].numpy())
    truth = targets[num_fitted:].numpy()
    found = found.reshape(truth.shape)  # of one channel it is flat
    return float(((truth - found) ** 2).sum() / ((truth - known.mean(axis=0)) ** 2).sum())


def read_student(path: Path | None, backbone: str, seed: int) -> StudentEncoder:
    """A student of phase 1's file; without one, of a seed's random weights. The caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = StudentEncoder(TimmTrunk(backbone))
    return load_student(student, path)


@torch.no_grad()
def _features(teacher: Teacher, frames: Tensor) -> Tensor:
    return torch.cat([teacher(batch) for batch in frames.split(16)])


def _frames(patient: int, size: int) -> Tensor:  # (T, 1, H, W) in [0, 1]
    return torch.from_numpy(generate_study(FIRST_SEED + patient, size, NUM_FRAMES).frames)


ENTROPY = "weight_entropy"
CURVES = ("weight/", ENTROPY)

Trace = Sequence[Sequence[float]]
"""Step and value."""


def read_traces(folder: str | Path) -> dict[str, Any]:
    """Curves and validation of the latest run in a distillation's folder.

    Returns:
        ``curves``: ``weight/<teacher>`` and ``weight_entropy`` over the steps; ``val_loss`` and ``val_cosine``: by
        teacher, at the end; the loss is in the distance of that run.

    Raises:
        ValueError: If the file holds no run.
    """
    client = MlflowClient(sqlite_uri(Path(folder).resolve() / "mlruns.db"))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    if not runs:
        raise ValueError(f"{folder}/mlruns.db must hold a run of phase 1, got none: remove the folder and run again")
    run_id, latest = runs[0].info.run_id, runs[0].data.metrics
    curves = {
        name: [(entry.step, round(entry.value, 4)) for entry in client.get_metric_history(run_id, name)]
        for name in latest
        if name.startswith(CURVES)
    }
    ends = {kind: _of_teachers(latest, f"{kind}_") for kind in ("val_loss", "val_cosine")}
    return {"curves": curves, **ends}


def _of_teachers(values: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): round(value, 4) for name, value in values.items() if name.startswith(prefix)}


def is_collapsed(curves: Mapping[str, Trace]) -> bool:
    """Whether one of several teachers has over 95% of the weights in the whole last quarter of what was logged."""
    weights = [curve for name, curve in sorted(curves.items()) if name.startswith("weight/")]
    if len(weights) < 2:
        return False
    steps = list(zip(*([value for _, value in curve] for curve in weights), strict=True))
    last = steps[-max(1, len(steps) // 4) :]
    return any(all(values[index] > COLLAPSED * sum(values) for values in last) for index in range(len(weights)))


IMAGE_SIZE = 512
"""Of a deployed segmenter."""
BENCHMARKS = ROOT / "docs" / "benchmarks.json"


def describe_costs(backbone: str, benchmarks: Path = BENCHMARKS) -> dict[str, float]:
    """Costs of the automatic masks of all structures on one 512 x 512 frame.

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
