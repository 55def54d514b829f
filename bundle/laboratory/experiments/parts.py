"""What holding masks together does: parts, flicker, Dice and HD95 before and after, on synthetic swallows and films."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from tqdm import trange

from bundle.atomic import write_json
from bundle.data.clip import Clip
from bundle.data.readers import read_clip
from bundle.inference.parts.hold_together import HoldTogether
from bundle.inference.parts.pieces import EIGHT_NEIGHBORS
from bundle.inference.predictor import ClipInferer
from bundle.laboratory.flicker import frame_change
from bundle.metrics.overlap import dice, hausdorff_95
from bundle.phantom.study import Domain, generate_study
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import MANY_PARTS
from bundle.transforms.field_of_view import Window, view_of_clip

FIRST_SEED = 37_000_000
"""Patients of no data set and of no teacher's training."""

SIZE, NUM_FRAMES, CHUNK = 512, 60, 4
DOMAINS: tuple[Domain, ...] = ("standard", "hard")
BEFORE, AFTER = "before", "after"
COLUMNS = ("parts", "change", "flicker", "dice", "hd95", "missed", "invented")
"""Parts and change are of the masks alone; flicker is change beyond the truth's; HD95 is in pixels; missed and invented
are shares of the frames with and without the structure."""

Row = dict[str, Any]


@torch.inference_mode()
def measure_parts(
    segmenter: Segmenter, output_dir: str | Path, num_patients: int = 6, films: Sequence[str | Path] = ()
) -> list[Row]:
    """Segment swallows of synthetic patients, whose truth is known, and films, of which it is not.

    Returns:
        A row per data, structure and kind of masks, which ``output_dir`` gets as ``parts.json``.
    """
    hold = HoldTogether(segmenter.structures)
    rows: list[Row] = []
    for domain in DOMAINS if num_patients else ():
        tallies = {BEFORE: MaskTally(), AFTER: MaskTally()}
        for patient in trange(num_patients, desc=f"{domain} swallows", unit="patient"):
            study = generate_study(FIRST_SEED + patient, SIZE, NUM_FRAMES, "consecutive", domain=domain)
            _count(_predicted(segmenter, len(study.frames), study.frames.__getitem__), hold, tallies, study.masks)
        rows += _rows(f"phantom, {domain}", segmenter.structures, tallies)
    for number, film in enumerate(films, start=1):
        clip, tallies = read_clip(film), {BEFORE: MaskTally(), AFTER: MaskTally()}
        seen = partial(_frame, clip, view_of_clip(clip))
        _count(_predicted(segmenter, clip.num_frames, seen, clip.pixel_aspect), hold, tallies)
        rows += _rows(f"film {number}", segmenter.structures, tallies)
    write_json(Path(output_dir) / "parts.json", {"patients": num_patients, "size": SIZE, "rows": rows})
    return rows


class MaskTally:
    """Takes masks of films frame by frame, with their truth where it is known, and sums up how they behave."""

    def __init__(self) -> None:
        self._values: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        self._last: tuple[np.ndarray, np.ndarray | None] | None = None

    def begin(self) -> None:
        """The next frame is another film's first."""
        self._last = None

    def add(self, masks: np.ndarray, label: np.ndarray | None = None) -> None:
        """Masks of the next frame, and their truth, ``(S, H, W)`` bool."""
        is_there = masks.any(axis=(1, 2))
        self._add("parts", [_num_parts(mask) if mask.any() else np.nan for mask in masks])
        if self._last is not None:
            change = _change(self._last[0], masks)
            self._add("change", change)
            if label is not None and self._last[1] is not None:
                self._add("flicker", change - _change(self._last[1], label))
        self._last = masks, label
        if label is None:
            return
        pred, truth = torch.from_numpy(masks)[None], torch.from_numpy(label)[None]
        has_label = label.any(axis=(1, 2))
        self._add("dice", dice(pred, truth)[0].numpy())
        self._add("hd95", hausdorff_95(pred, truth)[0].numpy())
        self._add("missed", np.where(has_label, ~is_there, np.nan))
        self._add("invented", np.where(has_label, np.nan, is_there))

    def means(self) -> dict[str, np.ndarray]:
        """Of every column, the mean of each structure over all frames that have a value; NaN where none has."""
        values = {name: np.array(rows, float) for name, rows in self._values.items() if rows}
        known = {name: ~np.isnan(rows) for name, rows in values.items()}
        return {
            name: np.where(
                known[name].any(axis=0), np.nansum(rows, axis=0) / np.maximum(known[name].sum(axis=0), 1), np.nan
            )
            for name, rows in values.items()
        }

    def _add(self, name: str, values: Sequence[float] | np.ndarray) -> None:
        self._values[name].append(np.asarray(values, float))


def format_parts(rows: Sequence[Row]) -> str:
    """A Markdown table per data: each structure, and means over those that are one body and over all."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        these = [row for row in rows if row["data"] == data]
        columns = [name for name in COLUMNS if any(row[AFTER].get(name) is not None for row in these)]
        bodies = [row for row in these if row["structure"] not in MANY_PARTS]
        lines += ["", f"**{data}**", "", f"| structure | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for title, group in [*((row["structure"], [row]) for row in these), ("one body", bodies), ("all", these)]:
            cells = [f"{_mean(group, BEFORE, name)} → {_mean(group, AFTER, name)}" for name in columns]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def _frame(clip: Clip, view: Window, index: int) -> np.ndarray:
    return clip.frame(index)[(..., *view.slices())]


def _predicted(
    segmenter: Segmenter, num_frames: int, frame: Callable[[int], np.ndarray], pixel_aspect: float = 1.0
) -> Iterator[np.ndarray]:
    """Masks of one frame after the other, ``(S, H, W)`` bool."""
    inferer = ClipInferer(segmenter.image_size, CHUNK, progress=False)
    for start in range(0, num_frames, CHUNK):
        chunk = np.stack([frame(index) for index in range(start, min(start + CHUNK, num_frames))])
        yield from inferer(torch.from_numpy(chunk), segmenter, pixel_aspect=pixel_aspect).numpy()


def _count(
    predicted: Iterator[np.ndarray],
    hold: HoldTogether,
    tallies: dict[str, MaskTally],
    labels: np.ndarray | None = None,
) -> None:
    truths = {kind: iter(() if labels is None else labels.astype(bool)) for kind in tallies}

    def add(kind: str, masks: np.ndarray) -> None:
        tallies[kind].add(masks, next(truths[kind], None))

    for tally in tallies.values():
        tally.begin()
    film = hold.begin()
    for masks in predicted:
        add(BEFORE, masks)
        for ready in film.add(masks):
            add(AFTER, ready)
    for ready in film.finish():
        add(AFTER, ready)


def _rows(data: str, structures: Sequence[str], tallies: dict[str, MaskTally]) -> list[Row]:
    means = {kind: tally.means() for kind, tally in tallies.items()}
    return [
        {
            "data": data,
            "structure": name,
            **{
                kind: {
                    column: None if np.isnan(values[number]) else round(float(values[number]), 4)
                    for column, values in means[kind].items()
                }
                for kind in tallies
            },
        }
        for number, name in enumerate(structures)
    ]


def _num_parts(mask: np.ndarray) -> int:
    return int(ndimage.label(mask, EIGHT_NEIGHBORS)[1])


def _change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return frame_change(torch.from_numpy(np.stack([before, after])))[0].numpy()


def _mean(rows: Sequence[Row], kind: str, column: str) -> str:
    values = [row[kind][column] for row in rows if row[kind].get(column) is not None]
    return f"{np.mean(values):.3f}" if values else "–"
