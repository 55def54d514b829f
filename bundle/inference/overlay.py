"""Masks drawn over frames: translucent areas, soft outlines, and a legend that says what is in the frame.

One frame as PNG, all of them as an H.264 film that every player shows.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from bundle.atomic import atomic_path, write_json
from bundle.data.clip import Clip
from bundle.inference.study import INTENDED_USE, SegmentedStudy
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.structures import COLORS

FILL_OPACITY, OUTLINE_OPACITY = 0.22, 0.95
MIN_HEIGHT, MAX_HEIGHT, MAX_WIDTH = 512, 768, 1280
PANEL, BRIGHT, DIM = (17, 19, 23), (236, 238, 242), (104, 110, 120)
# Beyond the named structures: light tints of Paul Tol's palette.
OTHER_COLORS = ((119, 170, 221), (238, 136, 102), (170, 170, 0), (255, 170, 187), (68, 187, 153), (221, 221, 221))
DISPLAY_RATE = Fraction(12)
IRREGULAR = 0.1  # an interval that differs by more than this share from the mean


class OverlayPainter:
    """Draws the frames of one clip: small ones enlarged and large ones reduced, with square pixels."""

    def __init__(self, clip: Clip, structures: Sequence[str]) -> None:
        self.clip = clip
        self.structures = tuple(structures)
        self.colors = structure_colors(structures)
        rows = clip.shape.rows * max(1.0, clip.pixel_aspect)
        columns = clip.shape.columns * max(1.0, 1 / clip.pixel_aspect)
        scale = min(max(1.0, MIN_HEIGHT / rows), MAX_HEIGHT / rows, MAX_WIDTH / columns)
        # Even sizes: 4:2:0 video cannot have others.
        self.height, self.width = _even(rows * scale), _even(columns * scale)
        self.legend = _Legend(self.structures, self.height)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is drawn, both even."""
        return self.height, self.width + self.legend.width

    def draw(self, index: int, masks: np.ndarray) -> np.ndarray:
        """Frame ``index`` with its masks ``(S, H, W)``, 0 or 1, and the legend: RGB ``(*size, 3)``, uint8."""
        values = np.clip(self.clip.frame(index)[0] * 255, 0, 255).round().astype(np.uint8)
        canvas = np.repeat(self._resize(values)[..., None], 3, axis=2).astype(np.float32)
        order = _largest_first(masks)
        resized = {s: self._resize(np.where(masks[s], np.uint8(255), np.uint8(0))) for s in order}
        shapes = [(self.colors[s], *_soft_shape(resized[s], self.height)) for s in order if resized[s].any()]
        for color, box, area, _ in shapes:
            _blend(canvas[box], color, FILL_OPACITY * area)
        for color, box, _, outline in shapes:
            _blend(canvas[box], color, OUTLINE_OPACITY * outline)
        picture = np.clip(canvas.round(), 0, 255).astype(np.uint8)
        times, frame = self.clip.frame_times_ms, f"frame {index + 1} / {self.clip.num_frames}"
        time = "no frame times" if times is None else f"{times[index] / 1000:.3f} s"
        legend = self.legend.draw(frame, time, self.colors, [bool(mask.any()) for mask in masks])
        return np.concatenate([picture, legend], axis=1)

    def _resize(self, values: np.ndarray) -> np.ndarray:  # (H, W) uint8 -> (height, width) uint8
        picture = Image.fromarray(values)
        return np.asarray(picture.resize((self.width, self.height), Image.Resampling.BILINEAR))


def write_overlay_png(study: SegmentedStudy, path: Path) -> None:
    """Draw the frame with the most structures and, among those, the largest first structure."""
    chosen = richest_frame(study.masks)
    picture = Image.fromarray(OverlayPainter(study.clip, study.structures).draw(chosen, study.masks[chosen]))
    with atomic_path(path) as temporary:
        picture.save(temporary)


def write_overlay_video(study: SegmentedStudy, path: Path) -> None:
    """Draw every frame into an MP4 with a constant frame rate; the JSON beside it says where the rate comes from."""
    painter = OverlayPainter(study.clip, study.structures)
    rate, basis = frame_rate(study)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
        stream = _add_stream(container, rate, painter.size)
        bar = tqdm(study.masks, desc="film", unit="frame", disable=not study.progress, leave=False)
        for index, masks in enumerate(bar):
            frame = av.VideoFrame.from_ndarray(painter.draw(index, masks), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
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
    richness = [(sum(bool(mask.any()) for mask in frame), np.count_nonzero(frame[0])) for frame in masks]
    return max(range(len(richness)), key=richness.__getitem__)


def structure_colors(structures: Sequence[str]) -> list[tuple[int, int, int]]:
    """RGB per structure: the project's for its 12 names, others in turn for a site's own."""
    others = iter(OTHER_COLORS * (1 + len(structures) // len(OTHER_COLORS)))
    return [COLORS[name] if name in COLORS else next(others) for name in structures]


def _add_stream(container: av.container.OutputContainer, rate: Fraction, size: tuple[int, int]) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=rate, options={"crf": "17", "preset": "veryfast"})
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.sample_aspect_ratio = Fraction(1)  # as the painter draws, whatever the source's pixels are
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = 1  # ITU-R BT.709
    context.color_range = 1  # limited, as players expect
    return stream


def _even(value: float) -> int:
    return max(2, 2 * round(value / 2))


def _largest_first(masks: np.ndarray) -> list[int]:
    areas = [np.count_nonzero(mask) for mask in masks]
    return sorted((s for s, area in enumerate(areas) if area), key=lambda s: -areas[s])


def _soft_shape(mask: np.ndarray, height: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Box around a mask (0 to 255), and in it the area's and the outline's opacity, without stairs."""
    width = max(1.0, height / 620)
    margin = 2 + round(4 * width)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = tuple(slice(max(0, int(x[0]) - margin), int(x[-1]) + 1 + margin) for x in (rows, columns))
    soft = gaussian_filter(mask[box].astype(np.float32) / 255, width)
    return (box[0], box[1]), soft, (4 * soft * (1 - soft)) ** 2  # 1 where the blurred mask is one half


def _blend(canvas: np.ndarray, color: tuple[int, int, int], opacity: np.ndarray) -> None:
    """Paint where it shows; ``canvas`` is a view and changes in place."""
    shown = opacity > 1 / 255
    painted, share = canvas[shown], opacity[shown, None]
    canvas[shown] = painted + (np.array(color, np.float32) - painted) * share


class _Legend:
    """The strip at the right: frame, time, one row per structure, intended use."""

    def __init__(self, structures: tuple[str, ...], height: int) -> None:
        self.structures, self.height = structures, height
        self.font_size = max(11, round(height / 34))
        self.row_height = min(1.9 * self.font_size, (height - 8.5 * self.font_size) / len(structures))
        font = ImageFont.load_default(self.font_size)
        self.width = _even(max(font.getlength(_label(name)) for name in structures) + 3.6 * self.font_size)

    def draw(
        self, frame: str, time: str, colors: Sequence[tuple[int, int, int]], present: Sequence[bool]
    ) -> np.ndarray:
        size = self.font_size
        panel = Image.new("RGB", (self.width, self.height), PANEL)
        pen = ImageDraw.Draw(panel)
        font, small = ImageFont.load_default(size), ImageFont.load_default(max(10, round(0.78 * size)))
        pen.text((size, 0.9 * size), frame, fill=BRIGHT, font=ImageFont.load_default(round(1.15 * size)))
        pen.text((size, 2.5 * size), time, fill=DIM, font=font)
        for row, (name, color, is_present) in enumerate(zip(self.structures, colors, present, strict=True)):
            middle = 5.2 * size + row * self.row_height
            swatch = (size, middle - 0.4 * size, 1.8 * size, middle + 0.4 * size)
            faint = tuple(round(0.45 * c + 0.55 * p) for c, p in zip(color, PANEL, strict=True))
            pen.rounded_rectangle(
                swatch, radius=0.2 * size, fill=color if is_present else PANEL, outline=color if is_present else faint
            )
            pen.text((2.5 * size, middle), _label(name), fill=BRIGHT if is_present else DIM, font=font, anchor="lm")
        bottom = self.height - 0.8 * size
        pen.text((size, bottom), "research use only", fill=DIM, font=small, anchor="lb")
        pen.text((size, bottom - 1.15 * size), "automatic masks,", fill=DIM, font=small, anchor="lb")
        return np.asarray(panel)


def _label(name: str) -> str:
    """As printed: vertebrae with a capital, other names in words."""
    return name.upper() if name[1:].isdigit() else name.replace("_", " ")
