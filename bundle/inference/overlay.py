"""Masks drawn over frames: translucent areas, soft outlines, and a legend that says what is in the frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from bundle.atomic import atomic_path
from bundle.data.clip import Clip
from bundle.inference.sidecar import check_masks
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.structures import COLOURS

FILL_OPACITY, OUTLINE_OPACITY = 0.22, 0.95
MIN_HEIGHT, MAX_HEIGHT, MAX_WIDTH = 512, 768, 1280
PANEL, BRIGHT, DIM = (17, 19, 23), (236, 238, 242), (104, 110, 120)
# Beyond the named structures: light tints of Paul Tol's palette.
OTHER_COLOURS = ((119, 170, 221), (238, 136, 102), (170, 170, 0), (255, 170, 187), (68, 187, 153), (221, 221, 221))


class OverlayPainter:
    """Draws the frames of one clip.

    Args:
        clip: What was segmented; small frames are enlarged and large ones reduced for display, with square pixels.
        structures: Names of the channels, in order.
    """

    def __init__(self, clip: Clip, structures: Sequence[str]) -> None:
        self.clip = clip
        self.structures = tuple(structures)
        self.colours = structure_colours(structures)
        rows = clip.shape.rows * max(1.0, clip.pixel_aspect)
        columns = clip.shape.columns * max(1.0, 1 / clip.pixel_aspect)
        scale = min(max(1.0, MIN_HEIGHT / rows), MAX_HEIGHT / rows, MAX_WIDTH / columns)
        # Even sizes: 4:2:0 video cannot have others.
        self.height, self.width = _even(rows * scale), _even(columns * scale)
        self.legend = _Legend.fit(self.structures, self.height)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is drawn, both even."""
        return self.height, self.width + self.legend.width

    def draw(self, index: int, masks: np.ndarray) -> np.ndarray:
        """One frame with its masks and the legend.

        Args:
            index: Frame of the clip, from 0.
            masks: Of that frame, ``(S, H, W)``, 0 or 1.

        Returns:
            RGB ``(*size, 3)``, uint8.
        """
        frame = np.clip(self.clip.frame(index)[0] * 255, 0, 255).round().astype(np.uint8)
        canvas = np.repeat(self._resize(frame)[..., None], 3, axis=2).astype(np.float32)
        order = _largest_first(masks)
        resized = {s: self._resize(np.where(masks[s], np.uint8(255), np.uint8(0))) for s in order}
        shapes = [(self.colours[s], *_soft_shape(resized[s], self.height)) for s in order if resized[s].any()]
        for colour, box, area, _ in shapes:
            _blend(canvas[box], colour, FILL_OPACITY * area)
        for colour, box, _, outline in shapes:
            _blend(canvas[box], colour, OUTLINE_OPACITY * outline)
        picture = np.clip(canvas.round(), 0, 255).astype(np.uint8)
        return np.concatenate([picture, self._panel(index, masks)], axis=1)

    def _resize(self, values: np.ndarray) -> np.ndarray:  # (H, W) uint8 -> (height, width) uint8
        picture = Image.fromarray(values)
        return np.asarray(picture.resize((self.width, self.height), Image.Resampling.BILINEAR))

    def _panel(self, index: int, masks: np.ndarray) -> np.ndarray:
        times = self.clip.frame_times_ms
        time = "no frame times" if times is None else f"{times[index] / 1000:.3f} s"
        present = [bool(mask.any()) for mask in masks]
        return self.legend.draw(f"frame {index + 1} / {self.clip.num_frames}", time, self.colours, present)


def write_overlay_png(
    masks: MaskFrames, clip: Clip, structures: Sequence[str], path: str | Path, index: int | None = None
) -> Path:
    """Draw one frame of a clip.

    Args:
        masks: ``(T, S, H, W)``, 0 or 1.
        clip: What was segmented.
        structures: Names of the channels, in order.
        path: PNG file.
        index: Frame, from 0. None: the one with the most structures and, among those, the largest first structure.
    """
    check_masks(masks, clip, structures)
    chosen = richest_frame(masks) if index is None else index
    picture = Image.fromarray(OverlayPainter(clip, structures).draw(chosen, masks[chosen]))
    with atomic_path(path) as temporary:
        picture.save(temporary)
    return Path(path)


def richest_frame(masks: MaskFrames) -> int:
    """Index of the frame with the most structures; of several, that with the largest first structure (the bolus)."""
    richness = [(sum(bool(mask.any()) for mask in frame), np.count_nonzero(frame[0])) for frame in masks]
    return max(range(len(richness)), key=richness.__getitem__)


def structure_colours(structures: Sequence[str]) -> list[tuple[int, int, int]]:
    """RGB per structure: the project's for its 12 names, others in turn for a site's own."""
    others = iter(OTHER_COLOURS * (1 + len(structures) // len(OTHER_COLOURS)))
    return [COLOURS[name] if name in COLOURS else next(others) for name in structures]


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


def _blend(canvas: np.ndarray, colour: tuple[int, int, int], opacity: np.ndarray) -> None:
    """Paint where it shows; ``canvas`` is a view and changes in place."""
    shown = opacity > 1 / 255
    painted, share = canvas[shown], opacity[shown, None]
    canvas[shown] = painted + (np.array(colour, np.float32) - painted) * share


@dataclass(frozen=True)
class _Legend:
    """The strip at the right: frame, time, one row per structure, intended use."""

    structures: tuple[str, ...]
    width: int
    height: int
    font_size: int
    row_height: float

    @classmethod
    def fit(cls, structures: tuple[str, ...], height: int) -> "_Legend":
        font_size = max(11, round(height / 34))
        row_height = min(1.9 * font_size, (height - 8.5 * font_size) / len(structures))
        longest = max(ImageFont.load_default(font_size).getlength(_label(name)) for name in structures)
        return cls(structures, _even(longest + 3.6 * font_size), height, font_size, row_height)

    def draw(
        self, frame: str, time: str, colours: Sequence[tuple[int, int, int]], present: Sequence[bool]
    ) -> np.ndarray:
        size = self.font_size
        panel = Image.new("RGB", (self.width, self.height), PANEL)
        pen = ImageDraw.Draw(panel)
        font, small = ImageFont.load_default(size), ImageFont.load_default(max(10, round(0.78 * size)))
        pen.text((size, 0.9 * size), frame, fill=BRIGHT, font=ImageFont.load_default(round(1.15 * size)))
        pen.text((size, 2.5 * size), time, fill=DIM, font=font)
        for row, (name, colour, is_present) in enumerate(zip(self.structures, colours, present, strict=True)):
            middle = 5.2 * size + row * self.row_height
            swatch = (size, middle - 0.4 * size, 1.8 * size, middle + 0.4 * size)
            faint = tuple(round(0.45 * c + 0.55 * p) for c, p in zip(colour, PANEL, strict=True))
            pen.rounded_rectangle(
                swatch, radius=0.2 * size, fill=colour if is_present else PANEL, outline=colour if is_present else faint
            )
            pen.text((2.5 * size, middle), _label(name), fill=BRIGHT if is_present else DIM, font=font, anchor="lm")
        bottom = self.height - 0.8 * size
        pen.text((size, bottom), "research use only", fill=DIM, font=small, anchor="lb")
        pen.text((size, bottom - 1.15 * size), "automatic masks,", fill=DIM, font=small, anchor="lb")
        return np.asarray(panel)


def _label(name: str) -> str:
    """As printed: vertebrae with a capital, other names in words."""
    return name.upper() if name[1:].isdigit() else name.replace("_", " ")
