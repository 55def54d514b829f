"""Points put by hand on a film without masks: each says that a structure is there, or that it is not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class HandPoint:
    """One point.

    Attributes:
        frame: From 0.
        structure: What is meant.
        row: Of the whole frame, in pixels.
        column: The same.
        radius: How sure the hand was, in pixels: a mask this near is at the point.
        inside: Whether the structure is there; otherwise a mask there is wrong.
        what: What is seen there, in words.
    """

    frame: int
    structure: str
    row: float
    column: float
    radius: float
    inside: bool
    what: str = ""


@dataclass(frozen=True)
class HandPoints:
    """Points on one film.

    Attributes:
        rows: Of the film's frames.
        columns: Of the film's frames.
        num_frames: Of the film.
        points: The points.
        recording: What the film is, in words.
    """

    rows: int
    columns: int
    num_frames: int
    points: tuple[HandPoint, ...]
    recording: str

    def check(self, num_frames: int, rows: int, columns: int) -> None:
        """Refuse a film that the points were not put on.

        Raises:
            ValueError: If it has another size or length.
        """
        expected, got = (self.num_frames, self.rows, self.columns), (num_frames, rows, columns)
        if got != expected:
            raise ValueError(
                f"the points are of a film of {expected[0]} frames, {expected[1]} x {expected[2]}, "
                f"got {got[0]} frames, {got[1]} x {got[2]}: leave --points out, or give that film's own"
            )


def read_points(path: str | Path) -> HandPoints:
    """Read a JSON file of points: ``rows``, ``columns``, ``num_frames``, ``recording`` and ``points``, objects.

    Raises:
        ValueError: If a key is missing or unknown.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        points = tuple(HandPoint(**point) for point in content["points"])
        return HandPoints(content["rows"], content["columns"], content["num_frames"], points, content["recording"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected rows, columns, num_frames, recording and points as HandPoint has them: {error}"
        ) from error


def judge(point: HandPoint, mask: np.ndarray) -> dict[str, Any]:
    """Whether a mask ``(H, W)`` of the whole frame is right about a point.

    Returns:
        The point's fields, ``distance`` from it to the mask in pixels (None: no mask) and ``is_right``.
    """
    places = np.argwhere(mask)
    distance = float(np.hypot(*(places - (point.row, point.column)).T).min()) if len(places) else None
    is_there = distance is not None and distance <= point.radius
    shown = None if distance is None else round(distance, 1)
    return {**vars(point), "distance": shown, "is_right": is_there == point.inside}


def right_by_structure(judged: list[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """By structure: right and all of the points ``inside`` and ``outside`` it, two numbers each."""
    table: dict[str, dict[str, list[int]]] = {}
    for point in judged:
        kinds = table.setdefault(point["structure"], {"inside": [0, 0], "outside": [0, 0]})
        counts = kinds["inside" if point["inside"] else "outside"]
        counts[0] += int(point["is_right"])
        counts[1] += 1
    return table
