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
    height = clip.shape.rows * min(1.0, clip.pixel_aspect)
    width = clip.shape.columns * min(1.0, 1 / clip.pixel_aspect)
    scale = min(1.0, LONGEST_SIDE / max(height, width), math.sqrt(MOST_PIXELS / (clip.num_frames * height * width)))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def encode_frames(clip: Clip, height: int, width: int) -> Iterator[str]:
    """Encode one frame after the other.

    Args:
        clip: What was segmented.
        height: Of the pictures.
        width: Of the pictures.

    Yields:
        JPEG in base64.
    """
    for index in range(clip.num_frames):
        picture = Image.fromarray((np.clip(clip.frame(index)[0], 0, 1) * 255).round().astype(np.uint8))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=QUALITY, optimize=True)
        yield base64.b64encode(file.getvalue()).decode("ascii")
