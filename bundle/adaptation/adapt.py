"""Adapt a model's file to a site's films: a folder with new weights and their card, or one line that says why not."""

import time
from pathlib import Path
from typing import Any

import torch

from bundle.adaptation.frames import REHEARSED, WATCHED, load_site_frames, synthetic_frames
from bundle.adaptation.tune import MOST_LOST, Frames, Tuned, TuningPlan, tune
from bundle.atomic import atomic_folder, write_json
from bundle.export.model_card import KEYS, load_segmenter, read_model_card
from bundle.segmentation.segmenter import Segmenter
from bundle.weights import file_sha256

SYNTHETIC_PATIENTS = 12
"""In training as many, and as many others to see what is forgotten."""
SYNTHETIC_FRAMES = 2
"""Of each."""


class NotAdaptedError(ValueError):
    """No better model came of the site's frames: the one that is there stays."""


def adapt(
    datalist: str | Path, output_dir: str | Path, model: str | Path, plan: TuningPlan, device: str = "cpu"
) -> dict[str, Any]:
    """Adapt a model to the labeled frames of a data list, and write ``model.pt`` and ``model.json``.

    Args:
        datalist: Its ``training``, and ``validation`` if it has one, with labels of any of the model's structures.
        output_dir: A new folder.
        model: Weights with their card, which stay as they are.
        plan: How.
        device: Where it computes.

    Returns:
        The new card.

    Raises:
        FileExistsError: If the folder is there.
        NotAdaptedError: If the result is no better on the site's frames, or has forgotten a structure.
        ValueError: If the data list or the plan is wrong.
    """
    deadline = time.monotonic() + 60 * plan.minutes
    folder = Path(output_dir)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: remove it, or name another folder")
    segmenter = load_segmenter(model).to(device)
    training, held_out = load_site_frames(datalist, segmenter)
    frames = Frames(
        training,
        held_out,
        rehearsed=synthetic_frames(REHEARSED, SYNTHETIC_PATIENTS, SYNTHETIC_FRAMES, segmenter),
        watched=synthetic_frames(WATCHED, SYNTHETIC_PATIENTS, SYNTHETIC_FRAMES, segmenter),
    )
    tuned = tune(segmenter, frames, plan, deadline)
    if tuned.best is None:
        raise NotAdaptedError(why_not(tuned, frames, segmenter))
    with atomic_folder(folder) as temporary:
        torch.save(segmenter.cpu().state_dict(), temporary / "model.pt")
        card = _card(Path(model), temporary / "model.pt", _record(tuned, frames, segmenter, plan))
        write_json(temporary / "model.json", card)
    return card


def why_not(tuned: Tuned, frames: Frames, segmenter: Segmenter) -> str:
    """One line: what the last model scores, and what it has forgotten."""
    lost, which = tuned.last.lost(tuned.start, frames.labeled())
    forgotten = f"; {segmenter.structures[which]}, which has no labels, lost {lost:.3f} on synthetic frames"
    return (
        f"not adapted, the model stays: mean Dice on {_judged_by(frames)} {tuned.start.score():.3f} before and "
        f"{tuned.last.score():.3f} after{forgotten if lost > MOST_LOST else ''}; label more frames or more structures, "
        "or try --encoder frozen"
    )


def _judged_by(frames: Frames) -> str:
    return f"{len(frames.held_out)} held-out frames" if frames.held_out else "the labeled frames themselves"


def _record(tuned: Tuned, frames: Frames, segmenter: Segmenter, plan: TuningPlan) -> dict[str, Any]:
    best = tuned.best or tuned.start
    lost, which = best.lost(tuned.start, frames.labeled())
    labeled = [name for name, is_there in zip(segmenter.structures, frames.labeled(), strict=True) if is_there]
    return {
        "labeled_frames": len(frames.training),
        "held_out_frames": len(frames.held_out),
        "labeled_structures": labeled,
        "judged_by": _judged_by(frames),
        "mean_dice_before": round(tuned.start.score(), 4),
        "mean_dice_after": round(best.score(), 4),
        "largest_loss_without_labels": {segmenter.structures[which]: round(lost, 4)} if lost > 0 else {},
        "steps": best.step,
        "seconds": round(tuned.seconds, 1),
        "encoder_training": plan.encoder_training,
        "learning_rate": plan.learning_rate,
        "seed": plan.seed,
    }


def _card(start: Path, weights: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What the weights fit and where they come from; what was measured of the model before is not theirs."""
    before = read_model_card(start)
    origin = before.get("synthetic") or "its card does not say on what it was trained"
    return {
        **{key: before[key] for key in KEYS},
        "file": "model.pt",
        "sha256": file_sha256(weights),
        "bytes": weights.stat().st_size,
        **{key: before[key] for key in ("license",) if key in before},
        "source": "vfss adapt",
        "start_sha256": file_sha256(start),
        "synthetic": f"adapted to {record['labeled_frames']} labeled frames of a site; the model before: {origin}",
        "adapted": record,
    }
