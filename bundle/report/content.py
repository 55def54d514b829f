"""What the page's scripts read: pictures, outlines, times, curves and events of one study as plain values."""

import base64
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from PIL import Image

from bundle.data.clip import Clip
from bundle.metrics.cropped import cropped
from bundle.metrics.kinematics import FilmMeasures
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.report.curves import Curves
from bundle.report.marks import Mark
from bundle.report.outlines import UNITS, anchor, outlines
from bundle.report.words import DISPLAY_RATE, event_label, usable_times

LONGEST_SIDE = 768  # pixels; more is not seen in the page
# Of all pictures of a page together, about 8 MB: 305 frames of 512 x 512; longer clips get smaller pictures.
MOST_PIXELS = 80_000_000
QUALITY = 85


def study_content(
    masks: MaskFrames, clip: Clip, marks: list[Mark], curves: Curves, measures: FilmMeasures | None
) -> dict[str, Any]:
    """Plain values for JSON."""
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
        "structures": [{"code": mark.code, "color": mark.color, "letter": mark.letter} for mark in marks],
        "outlines": drawn,
        "simplified": num_simplified,
        "anchors": [[anchor(part, scale) for part in cropped(masks, frame)] for frame in range(len(masks))],
        "plots": {plot.key: [curve.values for curve in plot.curves] for plot in curves.plots if plot.curves},
        "bands": {plot.key: [curve.band for curve in plot.curves] for plot in curves.plots if plot.curves},
        "events": [] if measures is None else _events(measures),
        "airway": [] if measures is None else frames_for_review(measures),
    }


def script_json(content: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _events(film: FilmMeasures) -> list[dict[str, Any]]:
    """In the order of time; where there are several swallows, each event says which one it is of."""
    return sorted(
        (
            {"label": event_label(name) + (f" {number}" if len(film.swallows) > 1 else ""), "frame": frame}
            for number, swallow in enumerate(film.swallows, start=1)
            for name, frame in swallow.events.items()
        ),
        key=lambda event: event["frame"],
    )


def frames_for_review(film: FilmMeasures) -> list[int]:
    """Frames with bolus in the airway; swallows may share frames."""
    return sorted({frame for swallow in film.swallows for frame in swallow.airway_frames})


def picture_size(clip: Clip) -> tuple[int, int]:
    """Height and width of the pictures: square pixels, never more than the frames have, one at least."""
    height = clip.shape.rows * min(1.0, clip.pixel_aspect)
    width = clip.shape.columns * min(1.0, 1 / clip.pixel_aspect)
    scale = min(1.0, LONGEST_SIDE / max(height, width), math.sqrt(MOST_PIXELS / (clip.num_frames * height * width)))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def encode_frames(clip: Clip, height: int, width: int) -> Iterator[str]:
    """Encode one frame after the other."""
    for index in range(clip.num_frames):
        picture = Image.fromarray(clip.picture(index))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=QUALITY, optimize=True)
        yield base64.b64encode(file.getvalue()).decode("ascii")
