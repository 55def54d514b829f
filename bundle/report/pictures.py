"""Frames as JPEG pictures inside the page, small enough for a page that opens at once."""

import base64
import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from bundle.data.clip import Clip

LONGEST_SIDE = 768
"""Pixels; more is not seen in the page."""

MOST_PIXELS = 80_000_000
"""Of all pictures of a page together, about 8 MB: 305 frames of 512 x 512; longer clips get smaller pictures."""

QUALITY = 85


def picture_size(clip: Clip) -> tuple[int, int]:
    """Height and width of the pictures: square pixels, never more than the frames have, one at least."""
    num_frames, _, rows, columns = clip.frames.shape
    row_spacing, column_spacing = clip.pixel_spacing_mm or (1.0, 1.0)
    coarser = max(row_spacing, column_spacing)
    height, width = rows * row_spacing / coarser, columns * column_spacing / coarser
    scale = min(1.0, LONGEST_SIDE / max(height, width), math.sqrt(MOST_PIXELS / (num_frames * height * width)))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def encode_frames(frames: np.ndarray, height: int, width: int) -> Iterator[str]:
    """Encode one frame after the other.

    Args:
        frames: ``(T, 1, H, W)``, float in [0, 1].
        height: Of the pictures.
        width: Of the pictures.

    Yields:
        JPEG in base64.
    """
    for frame in frames:
        picture = Image.fromarray((np.clip(frame[0], 0, 1) * 255).round().astype(np.uint8))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=QUALITY, optimize=True)
        yield base64.b64encode(file.getvalue()).decode("ascii")
