"""Frames of several modalities without labels, for a distillation that is compared with one on the phantom alone."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundle.data.datalist import load_datalist, read_datalist
from bundle.data.make_datalist import write_datalist
from bundle.keys import FRAME, IMAGE, PATIENT, PIXEL_ASPECT, PIXEL_SPACING_MM
from bundle.laboratory.public_sets.ct_lesions import make_ct_lesion_datalist
from bundle.laboratory.public_sets.radiographs import make_chest_xray_datalist

ALL_TRAINING = (1.0, 0.0, 0.0)

Frames = Sequence[Mapping[str, Any]]  # of load_datalist


def make_mixed_datalist(
    phantom_datalist: str | Path, chest_xrays: str | Path, ct_lesions: str | Path, root: str | Path, seed: int = 0
) -> Path:
    """Write a data list for phase 1 whose training frames are of the phantom, of chest X-rays and of CT slices.

    It has as many training frames as the phantom's list, so that a training takes as many steps: up to a third of them
    chest X-rays, up to a third CT slices (of either no more than there are), and the phantom's for the rest. Frames are
    drawn by the seed. Validation is the phantom's. No labels are listed.

    All patients of the two real sets may be drawn: what is distilled on this list must not be evaluated on them.

    Both folders are as for :func:`make_chest_xray_datalist` and :func:`make_ct_lesion_datalist`; ``root`` gets
    ``datalist.json``, whose path is returned, and the CT slices as NIfTI.

    Raises:
        FileNotFoundError: If the phantom's list or a folder is missing.
        ValueError: If a data set is wrong in any way.
    """
    root = Path(root)
    phantom = load_datalist(phantom_datalist, "training")
    real = [
        make_chest_xray_datalist(chest_xrays, root / "chest_xrays", ALL_TRAINING),
        make_ct_lesion_datalist(ct_lesions, root / "ct_lesions", ALL_TRAINING),
    ]
    random = np.random.default_rng(seed)
    others = [load_datalist(path, "training") for path in real]
    numbers = [min(len(phantom) // 3, len(frames)) for frames in others]
    drawn = [_draw(phantom, len(phantom) - sum(numbers), random)]
    drawn += [_draw(frames, number, random) for frames, number in zip(others, numbers, strict=True)]
    content = {
        "name": root.resolve().name,
        "description": "for phase 1: frames of a phantom, chest X-rays and CT slices; validation is the phantom's",
        **_sources(real),
        "synthetic": False,
        "structures": read_datalist(phantom_datalist)["structures"],
        "training": [item for frames in drawn for item in _items(frames, root)],
        "validation": _items(load_datalist(phantom_datalist, "validation"), root),
    }
    return write_datalist(root / "datalist.json", content, is_labeled=False)


def _sources(paths: Iterable[Path]) -> dict[str, str]:
    contents = [read_datalist(path) for path in paths]
    return {key: "; ".join(content.get(key, "not stated") for content in contents) for key in ("source", "license")}


def _draw(frames: Frames, number: int, random: np.random.Generator) -> Frames:
    """Some frames without repeats, in their own order."""
    return [frames[index] for index in sorted(random.choice(len(frames), number, replace=False))]


def _items(frames: Iterable[Mapping[str, Any]], root: Path) -> list[dict[str, Any]]:
    """Frames as a data list's clips, with paths from ``root``."""
    items: dict[Path, dict[str, Any]] = {}
    for frame in frames:
        image = Path(os.path.relpath(frame[IMAGE].absolute(), root.absolute())).as_posix()
        pixels = {key: frame[key] for key in (PIXEL_ASPECT, PIXEL_SPACING_MM) if key in frame}
        item = items.setdefault(frame[IMAGE], {"patient": frame[PATIENT], "image": image, "frames": [], **pixels})
        item["frames"].append(frame[FRAME])
    return list(items.values())
