"""What masks of a film tell without labels: how often, how large, in how many parts, how steady, how plausible."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from bundle.metrics.plausibility import RULES, Frame, box_of, plausibility
from bundle.metrics.temporal import frame_change

SUMMARY = ("found", "plausibility", "parts", "largest_part", "change")
"""The measures of :func:`summarize`, in the tables' order."""


@dataclass(frozen=True)
class FilmMeasures:
    """Measures of one film, frame by frame.

    Attributes:
        area: Pixels ``(T, S)``; 0: not found.
        parts: Connected parts ``(T, S)``.
        largest: Share of the largest part ``(T, S)``; NaN where not found.
        change: 1 - Dice of neighbouring frames ``(T - 1, S)``; NaN where both are empty.
        unit: Distance from C2 to C4 in pixels ``(T,)``; NaN where one is missing.
        rules: ``(T, R)`` in the order of ``RULES``: 1 holds, 0 fails, NaN cannot be asked.
    """

    area: np.ndarray
    parts: np.ndarray
    largest: np.ndarray
    change: np.ndarray
    unit: np.ndarray
    rules: np.ndarray


class FilmMeter:
    """Measures a film that comes in chunks of frames, in order.

    Args:
        structures: Names of the channels, in order.
        faces_right: Whether the patient looks to the right.
    """

    def __init__(self, structures: Sequence[str], faces_right: bool = True) -> None:
        self.structures = tuple(structures)
        self.faces_right = faces_right
        self._rows: dict[str, list[np.ndarray]] = {field.name: [] for field in fields(FilmMeasures)}
        self._last: np.ndarray | None = None

    def add(self, masks: np.ndarray) -> None:
        """Measure the next frames: masks ``(n, S, H, W)`` bool."""
        rows = self._rows
        rows["area"].append(masks.sum(axis=(2, 3)))
        parts = np.array([[_parts(mask) for mask in frame] for frame in masks])  # (n, S, 2)
        rows["parts"].append(parts[..., 0])
        rows["largest"].append(parts[..., 1])
        rows["unit"].append(np.array([_unit(Frame(frame, self.structures)) for frame in masks]))
        asked = plausibility(masks, self.structures, self.faces_right)
        rows["rules"].append(np.stack([asked[rule.name] for rule in RULES], axis=1))
        joined = masks if self._last is None else np.concatenate([self._last, masks])
        if len(joined) > 1:
            rows["change"].append(_change(joined))
        self._last = masks[-1:].copy()

    def result(self) -> FilmMeasures:
        """Measures of all frames so far.

        Raises:
            ValueError: If there were fewer than two frames.
        """
        if not self._rows["change"]:
            raise ValueError("steadiness needs a film of two frames or more, got fewer")
        return FilmMeasures(**{name: np.concatenate(values) for name, values in self._rows.items()})


def summarize(film: FilmMeasures) -> dict[str, float]:
    """One number per measure; structures and rules weigh the same.

    Returns:
        ``found``: share of frames, ``plausibility``: share in which a rule holds of those in which it can be asked,
        ``parts`` and ``largest_part`` of what is found, ``change`` between neighbouring frames. NaN without a value.
    """
    found = film.area > 0
    values = {
        "found": found.mean(axis=0),
        "plausibility": _mean(film.rules),
        "parts": _mean(np.where(found, film.parts, np.nan)),
        "largest_part": _mean(film.largest),
        "change": _mean(film.change),
    }
    return {name: float(_mean(value[:, None])[0]) for name, value in values.items()}


def by_structure(film: FilmMeasures, structures: Sequence[str]) -> dict[str, dict[str, float]]:
    """The same measures for each structure, its mean area in pixels and in squared C2-C4 lengths, and its variation.

    Returns:
        By structure: ``found``, ``area_px``, ``area_units``, ``area_variation`` (standard deviation over mean),
        ``parts``, ``largest_part``, ``change``; areas are of the frames that show it.
    """
    unit = float(_mean(film.unit[:, None])[0])
    rows = {}
    for index, name in enumerate(structures):
        found = film.area[:, index] > 0
        area = film.area[found, index].astype(float)
        mean = float(area.mean()) if len(area) else float("nan")
        rows[name] = {
            "found": float(found.mean()),
            "area_px": mean,
            "area_units": mean / unit**2,
            "area_variation": float(area.std() / mean) if len(area) else float("nan"),
            "parts": float(_mean(np.where(found, film.parts[:, index], np.nan)[:, None])[0]),
            "largest_part": float(_mean(film.largest[:, index : index + 1])[0]),
            "change": float(_mean(film.change[:, index : index + 1])[0]),
        }
    return rows


def by_rule(film: FilmMeasures) -> dict[str, dict[str, Any]]:
    """By rule: ``holds`` (share), ``asked`` (frames), ``fails`` (these frames, from 0)."""
    rows = {}
    for index, rule in enumerate(RULES):
        answers = film.rules[:, index]
        rows[rule.name] = {
            "holds": float(_mean(answers[:, None])[0]),
            "asked": int(np.isfinite(answers).sum()),
            "fails": np.flatnonzero(answers == 0).tolist(),
        }
    return rows


def _parts(mask: np.ndarray) -> tuple[int, float]:
    box = box_of(mask)
    if box is None:
        return 0, float("nan")
    labels, number = ndimage.label(mask[box])
    sizes = np.bincount(labels.ravel())[1:]
    return number, float(sizes.max() / sizes.sum())


def _unit(frame: Frame) -> float:
    return frame.unit if frame.has("c2", "c4") else float("nan")


def _change(masks: np.ndarray) -> np.ndarray:
    """One structure at a time, within its box: whole frames take many times as long."""
    change = np.full((len(masks) - 1, masks.shape[1]), np.nan)
    for index in range(masks.shape[1]):
        film = masks[:, index]
        box = box_of(np.asarray(film.any(axis=0)))
        if box is not None:
            cut = film[(slice(None), *box)]
            there = np.asarray(cut.any(axis=(1, 2)))
            values = frame_change(torch.from_numpy(cut[:, None].copy()))[:, 0].numpy()
            change[:, index] = np.where(there[1:] | there[:-1], values, np.nan)
    return change


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
