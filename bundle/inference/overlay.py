"""Masks drawn over frames: translucent areas, soft outlines, and a legend that says what is in the frame.

One frame as PNG, all of them as an H.264 film that every player shows.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from bundle.atomic import atomic_path, write_json
from bundle.data.clip import Clip
from bundle.inference.study import INTENDED_USE, SegmentedStudy
from bundle.metrics.cropped import CroppedMask, cropped
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.structures import COLORS

FILL_OPACITY, OUTLINE_OPACITY = 0.22, 0.95
MIN_HEIGHT, MAX_HEIGHT, MAX_WIDTH = 512, 768, 1280
PANEL, BRIGHT, DIM = (17, 19, 23), (236, 238, 242), (104, 110, 120)
# Beyond the named structures: light tints of Paul Tol's palette.
OTHER_COLORS = ((119, 170, 221), (238, 136, 102), (170, 170, 0), (255, 170, 187), (68, 187, 153), (221, 221, 221))
DISPLAY_RATE = Fraction(12)
# Of x264: less searching than the preset does, for some more bytes.
ENCODER = {"crf": "17", "preset": "veryfast", "x264-params": "subme=1:me=dia:b-adapt=0:partitions=i8x8"}
IRREGULAR = 0.1  # an interval that differs by more than this share from the mean


class OverlayPainter:
    """Draws the frames of one clip: small ones enlarged and large ones reduced, with square pixels."""

    def __init__(self, clip: Clip, structures: Sequence[str]) -> None:
        self.clip = clip
        self.colors = structure_colors(structures)
        rows = clip.shape.rows * max(1.0, clip.pixel_aspect)
        columns = clip.shape.columns * max(1.0, 1 / clip.pixel_aspect)
        scale = min(max(1.0, MIN_HEIGHT / rows), MAX_HEIGHT / rows, MAX_WIDTH / columns)
        # Even sizes: 4:2:0 video cannot have others.
        self.height, self.width = _even(rows * scale), _even(columns * scale)
        self.legend = _Legend(tuple(structures), self.colors, self.height)
        self._blur = max(1.0, self.height / 620)  # standard deviation: areas and outlines without stairs
        self._rows = _Scaled(clip.shape.rows, self.height, 2 + round(4 * self._blur))
        self._columns = _Scaled(clip.shape.columns, self.width, 2 + round(4 * self._blur))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is drawn, both even."""
        return self.height, self.width + self.legend.width

    def draw(self, index: int, parts: Sequence[CroppedMask]) -> np.ndarray:
        """Frame ``index`` with a mask per structure, and the legend: RGB ``(*size, 3)``, uint8."""
        values = self.clip.picture(index)
        frame = _resized(values, (self.width, self.height), (0, 0, *values.shape[::-1]))
        canvas = np.repeat(frame.astype(np.float32)[None], 3, axis=0)
        shapes = [(self.colors[s], *self._soft_shape(parts[s])) for s in _largest_first(parts)]
        for color, box, area, _ in shapes:
            _blend(canvas[:, *box], color, FILL_OPACITY * area)
        for color, box, _, outline in shapes:
            _blend(canvas[:, *box], color, OUTLINE_OPACITY * outline)
        picture = np.empty((*self.size, 3), np.uint8)
        for channel, plane in enumerate(np.rint(canvas, out=canvas).astype(np.uint8)):
            picture[:, : self.width, channel] = plane
        times, place = self.clip.frame_times_ms, f"frame {index + 1} / {self.clip.num_frames}"
        time = "no frame times" if times is None else f"{times[index] / 1000:.3f} s"
        picture[:, self.width :] = self.legend.draw(place, time, tuple(bool(part.pixels.any()) for part in parts))
        return picture

    def _soft_shape(self, part: CroppedMask) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """Box around a mask, and in it the area's and the outline's opacity."""
        rows, columns = (scaled.reach(run) for scaled, run in zip((self._rows, self._columns), part.box, strict=True))
        plane = np.zeros((rows.source.stop - rows.source.start, columns.source.stop - columns.source.start), np.uint8)
        top, left = part.top - rows.source.start, part.left - columns.source.start
        plane[top : top + part.pixels.shape[0], left : left + part.pixels.shape[1]] = part.pixels * np.uint8(255)
        size = columns.drawn.stop - columns.drawn.start, rows.drawn.stop - rows.drawn.start
        box = columns.within[0], rows.within[0], columns.within[1], rows.within[1]
        mask = _resized(plane, size, box).astype(np.float32) / 255
        soft = gaussian_filter(mask, self._blur)
        return (rows.drawn, columns.drawn), soft, (4 * soft * (1 - soft)) ** 2  # 1 where the blurred mask is one half


class _Reach(NamedTuple):
    """Pixels along one axis that a mask reaches, blurred."""

    drawn: slice  # Of the picture
    source: slice  # Of the clip, as far as these are made from them
    within: tuple[float, float]  # Where in ``source`` what is drawn begins and ends


class _Scaled(NamedTuple):
    """One axis of a clip and of its picture."""

    num_source: int
    num_drawn: int
    margin: int  # Pixels of the picture that a mask's blur reaches

    def reach(self, run: slice) -> _Reach:
        """What a run of the clip's pixels reaches."""
        scale = self.num_source / self.num_drawn
        first = max(0, math.floor(run.start / scale) - self.margin)
        stop = min(self.num_drawn, math.ceil(run.stop / scale) + self.margin)
        around = math.ceil(max(1.0, scale)) if scale != 1 else 0  # what bilinear interpolation looks at
        source = slice(
            max(0, math.floor(first * scale) - around), min(self.num_source, math.ceil(stop * scale) + around)
        )
        return _Reach(slice(first, stop), source, (first * scale - source.start, stop * scale - source.start))


def write_overlay_png(study: SegmentedStudy, path: Path) -> None:
    """Draw the frame with the most structures and, among those, the largest first structure."""
    chosen = richest_frame(study.masks)
    drawn = OverlayPainter(study.clip, study.structures).draw(chosen, cropped(study.masks, chosen))
    picture = Image.fromarray(drawn)
    with atomic_path(path) as temporary:
        picture.save(temporary)


def write_overlay_video(study: SegmentedStudy, path: Path) -> None:
    """Draw every frame into an MP4 with a constant frame rate; the JSON beside it says where the rate comes from."""
    painter = OverlayPainter(study.clip, study.structures)
    rate, basis = frame_rate(study)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
        stream, reformatter = _add_stream(container, rate, painter.size), VideoReformatter()
        frames = range(study.clip.num_frames)
        for index in tqdm(frames, desc="film", unit="frame", disable=not study.progress, leave=False):
            picture = painter.draw(index, cropped(study.masks, index))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = reformatter.reformat(
                frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    description = {
        "content": "frames with automatic segmentation masks, for looking at; measure in the masks instead",
        "intended_use": INTENDED_USE,
        "frames_per_second": float(rate),
        "frame_rate_basis": basis,
        "num_frames": study.clip.num_frames,
    }
    write_json(path.with_suffix(".json"), description)


def frame_rate(study: SegmentedStudy) -> tuple[Fraction, str]:
    """Frames per second for display, and in words where they come from."""
    interval, times = study.interval_ms, study.clip.frame_times_ms
    if interval is None or times is None:
        return DISPLAY_RATE, f"display only: the source gives no frame times, {DISPLAY_RATE} is our choice"
    rate = Fraction(1000 / interval).limit_denominator(1001)
    if (np.abs(np.diff(times) - interval) > IRREGULAR * interval).any():
        return rate, "mean of the source's frame times, which are irregular; each frame shows its own time"
    return rate, "the source's frame times"


def richest_frame(masks: MaskFrames) -> int:
    """Index of the frame with the most structures; of several, that with the largest first structure (the bolus)."""
    areas = ([np.count_nonzero(part.pixels) for part in cropped(masks, index)] for index in range(len(masks)))
    richness = [(np.count_nonzero(of_frame), of_frame[0]) for of_frame in areas]
    return max(range(len(richness)), key=richness.__getitem__)


def structure_colors(structures: Sequence[str]) -> list[tuple[int, int, int]]:
    """RGB per structure: the project's for its 12 names, others in turn for a site's own."""
    others = iter(OTHER_COLORS * (1 + len(structures) // len(OTHER_COLORS)))
    return [COLORS[name] if name in COLORS else next(others) for name in structures]


def _add_stream(container: av.container.OutputContainer, rate: Fraction, size: tuple[int, int]) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=rate, options=ENCODER)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.sample_aspect_ratio = Fraction(1)  # as the painter draws, whatever the source's pixels are
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = 1  # ITU-R BT.709
    context.color_range = 1  # limited, as players expect
    return stream


def _even(value: float) -> int:
    return max(2, 2 * round(value / 2))


def _resized(values: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """What lies in a box (left, top, right, bottom) of a picture ``(H, W)``, uint8, with another width and height."""
    if values.shape[::-1] == size:
        return values
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR, box))


def _largest_first(parts: Sequence[CroppedMask]) -> list[int]:
    areas = [np.count_nonzero(part.pixels) for part in parts]
    return sorted((s for s, area in enumerate(areas) if area), key=lambda s: -areas[s])


def _blend(canvas: np.ndarray, color: tuple[int, int, int], opacity: np.ndarray) -> None:
    """Paint where it shows; ``canvas`` ``(3, h, w)`` is a view and changes in place."""
    opacity[opacity <= 1 / 255] = 0
    for plane, value in zip(canvas, color, strict=True):
        change = np.float32(value) - plane
        change *= opacity
        plane += change


class _Legend:
    """The strip at the right: frame, time, one row per structure, intended use."""

    def __init__(self, structures: tuple[str, ...], colors: Sequence[tuple[int, int, int]], height: int) -> None:
        self.structures, self.colors, self.height = structures, tuple(colors), height
        self.font_size = max(11, round(height / 34))
        self.row_height = min(1.9 * self.font_size, (height - 8.5 * self.font_size) / len(structures))
        self.large, self.font, self.small = (
            ImageFont.load_default(size)
            for size in (round(1.15 * self.font_size), self.font_size, max(10, round(0.78 * self.font_size)))
        )
        self.width = _even(max(self.font.getlength(_label(name)) for name in structures) + 3.6 * self.font_size)
        self._rows = lru_cache(maxsize=16)(self._draw_rows)  # what is in a frame is mostly what was in the last one

    def draw(self, frame: str, time: str, present: tuple[bool, ...]) -> np.ndarray:
        """RGB ``(height, width, 3)``, uint8; ``present`` says which structures are in the frame."""
        size, panel = self.font_size, self._rows(present).copy()
        pen = ImageDraw.Draw(panel)
        pen.text((size, 0.9 * size), frame, fill=BRIGHT, font=self.large)
        pen.text((size, 2.5 * size), time, fill=DIM, font=self.font)
        return np.asarray(panel)

    def _draw_rows(self, present: tuple[bool, ...]) -> Image.Image:
        size = self.font_size
        panel = Image.new("RGB", (self.width, self.height), PANEL)
        pen = ImageDraw.Draw(panel)
        for row, (name, color, is_present) in enumerate(zip(self.structures, self.colors, present, strict=True)):
            middle = 5.2 * size + row * self.row_height
            swatch = (size, middle - 0.4 * size, 1.8 * size, middle + 0.4 * size)
            faint = tuple(round(0.45 * c + 0.55 * p) for c, p in zip(color, PANEL, strict=True))
            pen.rounded_rectangle(
                swatch, radius=0.2 * size, fill=color if is_present else PANEL, outline=color if is_present else faint
            )
            pen.text(
                (2.5 * size, middle), _label(name), fill=BRIGHT if is_present else DIM, font=self.font, anchor="lm"
            )
        bottom = self.height - 0.8 * size
        pen.text((size, bottom), "research use only", fill=DIM, font=self.small, anchor="lb")
        pen.text((size, bottom - 1.15 * size), "automatic masks,", fill=DIM, font=self.small, anchor="lb")
        return panel


def _label(name: str) -> str:
    """As printed: vertebrae with a capital, other names in words."""
    return name.upper() if name[1:].isdigit() else name.replace("_", " ")
