"""What the page's scripts read: pictures, outlines, times, curves and events of one study as plain values."""

import json
from typing import Any

from bundle.data.clip import Clip
from bundle.metrics.kinematics import SwallowMeasures
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.report.curves import Curves
from bundle.report.marks import Mark
from bundle.report.outlines import UNITS, anchor, outlines
from bundle.report.pictures import encode_frames, picture_size
from bundle.report.timing import DISPLAY_RATE, usable_times
from bundle.report.words import event_label


def study_content(
    masks: MaskFrames, clip: Clip, marks: list[Mark], curves: Curves, measures: SwallowMeasures | None
) -> dict[str, Any]:
    """Plain values for JSON.

    Args:
        masks: ``(T, S, H, W)`` bool.
        clip: What was segmented.
        marks: One per structure.
        curves: From ``swallow_curves``.
        measures: For the events; None: none.
    """
    height, width = picture_size(clip)
    scale = height / masks.shape[2], width / masks.shape[3]
    times = usable_times(clip)
    drawn, num_simplified = outlines(masks, scale)
    return {
        "width": width,
        "height": height,
        "units": UNITS,
        "frames": list(encode_frames(clip, height, width)),
        "times": None if times is None else [round(float(time), 3) for time in times],
        "displayRate": DISPLAY_RATE,
        "structures": [{"code": mark.code, "colour": mark.colour, "letter": mark.letter} for mark in marks],
        "outlines": drawn,
        "simplified": num_simplified,
        "anchors": [[anchor(mask, scale) for mask in frame] for frame in masks],
        "plots": {plot.key: [curve.values for curve in plot.curves] for plot in curves.plots if plot.curves},
        "events": [] if measures is None else _events(measures),
        "airway": [] if measures is None else list(measures.airway_frames),
    }


def script_json(content: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _events(measures: SwallowMeasures) -> list[dict[str, Any]]:
    in_time = sorted(measures.events.items(), key=lambda event: event[1])
    return [{"label": event_label(name), "frame": frame} for name, frame in in_time]
