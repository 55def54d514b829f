"""What can be measured of the segmenter, trained on synthetic patients only, on a real film without labels."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bundle.atomic import write_json, write_text
from bundle.data.clip import Clip
from bundle.data.phantom.study import Domain, generate_study
from bundle.data.readers import read_clip
from bundle.inference.overlay import OverlayPainter
from bundle.metrics.overlap import dice
from bundle.transforms.field_of_view import Window
from bundle.workflows.sim_to_real_measures import FilmMeasures, FilmMeter, by_rule, by_structure, summarize
from bundle.workflows.sim_to_real_page import format_page
from bundle.workflows.sim_to_real_pictures import check_folder, draw_frames
from bundle.workflows.sim_to_real_points import HandPoints, judge, read_points
from bundle.workflows.sim_to_real_prediction import predict_dice
from bundle.workflows.sim_to_real_product import Product, film_chunks, load_product, segment, study_chunks
from bundle.workflows.sim_to_real_variants import NONE, Variant, mean_quantiles, variants
from bundle.workflows.stages import ROOT

FIRST_SEED = 35_000_000
"""Patients of no data set and of no training."""
DOMAINS: tuple[Domain, ...] = ("standard", "hard")
FRAME_RATE = 12.0
"""Of the synthetic films: that of the real one for which this was written."""
NUM_PICTURES = 8
EVIDENCE = ROOT / "docs" / "evidence"


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        patients: Synthetic patients of each domain.
        changed_patients: How many of them are also segmented with changed frames.
        frames: Frames of each of them, in a row.
        size: Rows and columns of theirs.
        faces_right: Whether the film's patient looks to the right.
        points: Points on the film, if there are any.
    """

    patients: int = 12
    changed_patients: int = 6
    frames: int = 8
    size: int = 512
    faces_right: bool = True
    points: HandPoints | None = None


def measure_sim_to_real(
    film: str | Path,
    output_dir: str | Path,
    checkpoint: str | Path = ROOT / "models" / "model.pt",
    points: str | Path | None = None,
    settings: Settings = Settings(),
) -> None:
    """Measure a film and synthetic patients, with and without changes of the frames.

    Args:
        film: A video or DICOM file.
        output_dir: Gets ``report.json`` and pictures of the film; a folder that Git ignores.
        checkpoint: Weights, with their model card beside them.
        points: JSON file of points put by hand on this film.
        settings: How much is measured.

    Raises:
        ValueError: If the folder belongs to the project, the film cannot be read, or the points are of another film.
    """
    folder = Path(output_dir)
    check_folder(folder)
    settings = settings if points is None else replace(settings, points=read_points(points))
    clip = read_clip(film)
    if settings.points is not None:
        settings.points.check(clip.num_frames, clip.shape.rows, clip.shape.columns)
    with tempfile.TemporaryDirectory() as temporary:
        report = measure_all(load_product(film, checkpoint, temporary), clip, settings, folder)
    write_json(folder / "report.json", report)


def write_page(output_dir: str | Path, publish: bool = False) -> str:
    """Write the page of the last report, with what ``docs/evidence/sim_to_real_seen.md`` says now.

    Args:
        output_dir: Holds ``report.json``; gets ``report.md``.
        publish: Whether both, which have no picture, also go to ``docs/evidence``.

    Returns:
        The page.

    Raises:
        FileNotFoundError: If there is no report.
    """
    path = Path(output_dir) / "report.json"
    if not path.is_file():
        raise FileNotFoundError(f"no such report: {path}: give a film to measure")
    report = json.loads(path.read_text(encoding="utf-8"))
    seen = EVIDENCE / "sim_to_real_seen.md"
    page = format_page(report, seen.read_text(encoding="utf-8") if seen.is_file() else None)
    write_text(path.with_suffix(".md"), page)
    if publish:
        write_json(EVIDENCE / "sim_to_real.json", report)
        write_text(EVIDENCE / "sim_to_real.md", page)
    return page


def measure_all(product: Product, clip: Clip, settings: Settings, folder: Path) -> dict[str, Any]:
    """Everything that the report says, as plain values; draws the pictures on the way.

    Args:
        product: What segments.
        clip: The film, for its pictures.
        settings: How much is measured.
        folder: For the pictures.
    """
    changes = variants(mean_quantiles(settings.changed_patients, settings.size))
    painter = OverlayPainter(clip, product.structures)
    films = {}
    for variant in changes:
        films[variant.name], masks, view = _measure_film(product, variant, clip, settings)
        draw_frames(painter, masks, view, folder, variant.name)
    synthetic = {domain: _measure_domain(product, domain, changes, settings) for domain in DOMAINS}
    patients = [patient for domain in DOMAINS for patient in synthetic[domain]["patients"]]
    report = {
        "recording": settings.points.recording if settings.points else "a film that is not part of the project",
        "model_sha256": product.sha256,
        "patients": settings.patients,
        "changed_patients": settings.changed_patients,
        "frames": settings.frames,
        "size": settings.size,
        "frame_rate": FRAME_RATE,
        "first_seed": FIRST_SEED,
        "film": films[NONE],
        "synthetic": synthetic,
        "dice_from_measures": predict_dice(patients),
        "variants": {
            variant.name: {
                "meaning": variant.meaning,
                **films[variant.name]["summary"],
                "points_right": sum(point["is_right"] for point in films[variant.name]["points"]),
                "dice": {domain: synthetic[domain]["dice_by_variant"][variant.name] for domain in DOMAINS},
            }
            for variant in changes
        },
    }
    return _plain(report)


def _measure_film(
    product: Product, variant: Variant, clip: Clip, settings: Settings
) -> tuple[dict[str, Any], dict[int, np.ndarray], Window]:
    """Measures, the masks of the frames to draw, and the part that the network looked at."""
    points = settings.points.points if settings.points else ()
    spread = np.linspace(0, clip.num_frames - 1, NUM_PICTURES).round().astype(int).tolist()
    drawn = {*spread, *(point.frame for point in points)}
    meter = FilmMeter(product.structures, settings.faces_right)
    kept: dict[int, np.ndarray] = {}
    first, view = 0, Window(0, clip.shape.rows, 0, clip.shape.columns)
    for masks, view in segment(tqdm(film_chunks(product), desc=variant.name, unit="chunk"), product, variant):
        meter.add(masks[(..., *view.slices())])
        kept |= {index: masks[index - first].copy() for index in drawn if first <= index < first + len(masks)}
        first += len(masks)
    film = meter.result()
    measured = {
        "num_frames": first,
        "rows": clip.shape.rows,
        "columns": clip.shape.columns,
        "view": view._asdict(),
        "summary": summarize(film),
        "structures": by_structure(film, product.structures),
        "rules": by_rule(film),
        "points": [judge(point, kept[point.frame][product.structures.index(point.structure)]) for point in points],
    }
    return measured, dict(sorted(kept.items())), view


def _measure_domain(product: Product, domain: Domain, changes: Sequence[Variant], settings: Settings) -> dict[str, Any]:
    """Patients of one domain: measures of predicted and true masks, Dice, and Dice of every variant."""
    patients: list[dict[str, Any]] = []
    predicted: list[FilmMeasures] = []
    true: list[FilmMeasures] = []
    by_name: list[np.ndarray] = []
    scores: dict[str, list[float]] = {variant.name: [] for variant in changes}
    for index in tqdm(range(settings.patients), desc=f"{domain} patients", unit="patient"):
        study = generate_study(
            FIRST_SEED + index, settings.size, settings.frames, "consecutive", FRAME_RATE, domain=domain
        )
        label = study.masks.astype(bool)
        for variant in changes if index < settings.changed_patients else changes[:1]:
            chunks = study_chunks(study, product.chunk_frames)
            masks = np.concatenate([masks for masks, _ in segment(chunks, product, variant)])
            of_structures = dice(torch.from_numpy(masks), torch.from_numpy(label)).nanmean(dim=0).numpy()
            scores[variant.name].append(float(np.nanmean(of_structures)))
            if variant.name == NONE:
                by_name.append(of_structures)
                predicted.append(_measure(masks, product.structures))
                true.append(_measure(label, product.structures))
                patients.append({"domain": domain, "dice": scores[NONE][-1], **summarize(predicted[-1])})
    return {
        "patients": patients,
        "predicted": _pooled(predicted, product.structures),
        "true": _pooled(true, product.structures),
        "dice": float(np.mean(scores[NONE])),
        "dice_by_structure": dict(zip(product.structures, np.nanmean(by_name, axis=0).tolist(), strict=True)),
        "dice_by_variant": {
            name: float(np.mean(values[: settings.changed_patients])) for name, values in scores.items()
        },
    }


def _measure(masks: np.ndarray, structures: Sequence[str]) -> FilmMeasures:
    meter = FilmMeter(structures)
    meter.add(masks)
    return meter.result()


def _pooled(films: Sequence[FilmMeasures], structures: Sequence[str]) -> dict[str, Any]:
    """Means over patients of all measures, and the smallest and largest of each summary."""
    summaries = [summarize(film) for film in films]
    of_structures = [by_structure(film, structures) for film in films]
    of_rules = [by_rule(film) for film in films]
    return {
        "summary": {name: _mean([one[name] for one in summaries]) for name in summaries[0]},
        "lowest": {name: min(one[name] for one in summaries) for name in summaries[0]},
        "highest": {name: max(one[name] for one in summaries) for name in summaries[0]},
        "structures": {
            name: {key: _mean([one[name][key] for one in of_structures]) for key in of_structures[0][name]}
            for name in structures
        },
        "rules": {name: _mean([one[name]["holds"] for one in of_rules]) for name in of_rules[0]},
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _plain(value: Any) -> Any:
    """For JSON: floats of four digits, None for NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value
