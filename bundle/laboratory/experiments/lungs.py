"""Real chest X-rays, real teachers: LiteMedSAM and EfficientNet-Lite0 into one student, which then finds the lungs."""

import json
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor, nn

from bundle.atomic import write_json
from bundle.engines.prepare_batch import PrepareDistillationBatch
from bundle.engines.stages import Stage, children_cpu_seconds, peak_memory_gb, run_stages
from bundle.keys import IMAGE, VALID
from bundle.laboratory.experiments.baseline import BASELINES, baseline_stages
from bundle.laboratory.public_sets.radiographs import make_chest_xray_datalist
from bundle.losses.statistics import FeatureStatistics
from bundle.paths import ROOT
from bundle.weights import weights_sha256

DISTILLATION = "phase 1: distill LiteMedSAM and EfficientNet-Lite0 into the student"
TRAINING = "phase 2: train SAM 2's mask decoder on the student"
EVALUATION = "evaluation on the test patients"
DISTILLED = "distilled student"
REPORT = "lungs.json"


def run_lungs(
    images: str | Path, output_dir: str | Path = ROOT / "runs" / "lungs", **checkpoints: str | Path
) -> dict[str, Any]:
    """Data list, distillation, training and evaluation; a finished run in ``output_dir`` is read, not repeated.

    Args:
        images: Folder with ``images/*.png`` and, under the same names, ``masks/*.png``; one file per patient.
        output_dir: Folder of everything that is made.
        **checkpoints: ``lite_medsam_checkpoint`` and ``efficientnet_lite0_checkpoint``, where the teachers' packages
            are not installed.

    Returns:
        ``patients`` per section, wall and CPU time, memory, and per model Dice and HD95; also in ``lungs.json``.
    """
    folder = Path(output_dir).resolve()
    if (folder / REPORT).is_file():
        return json.loads((folder / REPORT).read_text())
    folder.mkdir(parents=True, exist_ok=True)
    datalist = make_chest_xray_datalist(images, folder)
    start, cpu_start = time.monotonic(), children_cpu_seconds()
    seconds = run_stages(lung_stages(folder, checkpoints))
    report = {
        "data": f"real chest X-rays in {Path(images).resolve().name}",
        "patients": _count_patients(datalist),
        "seconds": round(time.monotonic() - start, 1),
        "cpu_minutes": round((children_cpu_seconds() - cpu_start) / 60, 1),
        "seconds_per_stage": {title: round(value, 1) for title, value in seconds.items()},
        "peak_memory_gb": round(peak_memory_gb(), 2),
        "models": {DISTILLED: _scores(folder / "evaluate")},
    }
    write_json(folder / REPORT, report)
    return report


def run_lung_baselines(output_dir: str | Path = ROOT / "runs" / "lungs") -> dict[str, Any]:
    """Train what the distilled student is compared with for as long as both its phases took, and add it to the report.

    A baseline that is finished is read, not repeated.

    Args:
        output_dir: Folder of a finished :func:`run_lungs`.

    Raises:
        FileNotFoundError: If that has not been run.
    """
    folder = Path(output_dir).resolve()
    path = folder / REPORT
    if not path.is_file():
        raise FileNotFoundError(f"no {REPORT} in {folder}: distill and train first, with run_lungs")
    report = json.loads(path.read_text())
    seconds = report["seconds_per_stage"][DISTILLATION] + report["seconds_per_stage"][TRAINING]
    for name, overlay in BASELINES.items():
        target = folder / "baseline" / Path(overlay).stem
        if not (target / "evaluate" / "metrics.json").is_file():
            run_stages(lung_baseline_stages(name, overlay, folder, target, seconds))
        report["models"][name] = _scores(target / "evaluate")
    report["seconds_of_each_baseline"] = round(seconds, 1)
    write_json(path, report)
    return report


def lung_stages(folder: Path, checkpoints: Mapping[str, str | Path]) -> list[Stage]:
    """Both phases and the evaluation: the phantom's configs, each with one overlay."""
    data = {"datalist": str(folder / "datalist.json")}
    weights = {key: str(Path(value).resolve()) for key, value in checkpoints.items()}
    student, model = str(folder / "distill" / "student.pt"), str(folder / "train" / "model.pt")
    return [
        Stage(
            DISTILLATION,
            ["distill.json", "laboratory/overlays/lungs.json"],
            {**data, "output_dir": str(folder / "distill"), "resume": "False", **weights},
        ),
        Stage(
            TRAINING,
            ["train.json", "laboratory/overlays/lungs_train.json"],
            {**data, "output_dir": str(folder / "train"), "student_checkpoint": student, "resume": "False"},
        ),
        Stage(
            EVALUATION,
            ["train.json", "laboratory/overlays/lungs_train.json", "evaluate.json"],
            {**data, "output_dir": str(folder / "evaluate"), "checkpoint": model},
            run_id="evaluating",
        ),
    ]


def lung_baseline_stages(name: str, overlay: str, folder: Path, target: Path, seconds: float) -> list[Stage]:
    """The phantom's baseline on the lungs' data list."""
    return [
        replace(
            stage,
            configs=["train.json", "laboratory/overlays/lungs_train.json", *stage.configs[1:]],
            overrides={**stage.overrides, "datalist": str(folder / "datalist.json")},
        )
        for stage in baseline_stages(name, overlay, folder, target, seconds)
    ]


def format_lungs(report: Mapping[str, Any]) -> str:
    """Models side by side, and what they cost."""
    models = report["models"]
    width = max(len(name) for name in models)
    unit = models[DISTILLED]["unit"]
    patients = ", ".join(f"{count} {section}" for section, count in report["patients"].items())
    lines = [f"{report['data']}; patients: {patients}", f"{'model':<{width}}   Dice  HD95 {unit}"]
    lines += [f"{name:<{width}}  {model['dice']:.4f}  {model['hd95']:>7.2f}" for name, model in models.items()]
    lines.append(
        f"both phases and evaluation: {report['seconds'] / 60:.1f} minutes, {report['cpu_minutes']:.1f} CPU minutes, "
        f"{report['peak_memory_gb']:.1f} GB"
    )
    return "\n".join(lines)


class TeacherFeaturesd(MapTransform):
    """Run every teacher on a frame and keep its features ``(C, h, w)``, as float16, under the teacher's name.

    Before the random transforms of a ``CacheDataset`` each teacher so runs once per frame instead of once per step,
    which makes a slow teacher affordable. Spatial transforms then have to move the features with the frame; features of
    a rotated frame are not exactly rotated features, so keep the angles small.

    Args:
        teachers: Frozen teachers by name.
        keys: The entry with the frame.
        allow_missing_keys: As in every MONAI transform.
    """

    def __init__(
        self, teachers: Mapping[str, nn.Module], keys: KeysCollection = IMAGE, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.teachers = dict(teachers)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        entry = dict(data)
        for key in self.key_iterator(entry):
            frame = torch.as_tensor(entry[key])[None]
            for name, teacher in self.teachers.items():
                entry[name] = teacher(frame)[0].half()
        return entry


class PrepareCachedBatch(PrepareDistillationBatch):
    """Phase 1 with features that :class:`TeacherFeaturesd` has put into the batch; no teacher runs."""

    def features(
        self, _frames: Tensor, batchdata: Mapping[str, Any], move: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """From the batch, as float32."""
        return {name: move(batchdata[name]).float() for name in self.teachers}


def fit_stored_standardizers(
    teachers: Mapping[str, nn.Module], frames: Iterable[Mapping[str, Any]], kind: Callable[..., nn.Module]
) -> dict[str, nn.Module]:
    """One standardizer per teacher from the stored features of training frames."""
    statistics = {
        name: FeatureStatistics(int(teacher.embed_dim), f"weights {weights_sha256(teacher)}")  # type: ignore[arg-type]
        for name, teacher in teachers.items()
    }
    for batch in frames:
        for name, teacher in teachers.items():
            statistics[name].update(batch[name].float(), teacher.valid_grid(batch[VALID]))  # type: ignore[operator]
    for name, entry in statistics.items():
        entry.warn_if_small(name)
    return {name: kind(entry) for name, entry in statistics.items()}


def _scores(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text())
    return {"dice": metrics["mean_dice"], "hd95": metrics["mean_hd95"], "unit": metrics["unit"]}


def _count_patients(datalist: Path) -> dict[str, int]:
    content = json.loads(datalist.read_text())
    return {name: len({item["patient"] for item in content[name]}) for name in ("training", "validation", "test")}
