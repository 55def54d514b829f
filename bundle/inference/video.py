"""The overlay as an H.264 film that every player shows."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from bundle.atomic import atomic_path, write_json
from bundle.data.clip import Clip
from bundle.inference.nifti import mean_interval_ms
from bundle.inference.overlay import OverlayPainter
from bundle.inference.sidecar import INTENDED_USE, check_masks
from bundle.metrics.kinematics.clip_masks import MaskFrames

DISPLAY_RATE = Fraction(12)
IRREGULAR = 0.1  # an interval that differs by more than this share from the mean


def write_overlay_video(
    masks: MaskFrames, clip: Clip, structures: Sequence[str], path: str | Path, progress: bool = False
) -> list[Path]:
    """Draw every frame and write an MP4 with a constant frame rate, and a JSON sidecar that says where it comes from.

    Args:
        masks: ``(T, S, H, W)``, 0 or 1.
        clip: What was segmented.
        structures: Names of the channels, in order.
        path: File that ends in .mp4; the sidecar beside it ends in .json.
        progress: Whether to show a progress bar.

    Returns:
        The film's and the sidecar's path.

    Raises:
        ValueError: If the masks do not fit the clip or the file does not end in .mp4.
    """
    path = Path(path)
    if path.suffix != ".mp4":
        raise ValueError(f"path must end in .mp4, got {path.name}")
    check_masks(masks, clip, structures)
    painter = OverlayPainter(clip, structures)
    rate, basis = frame_rate(clip)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
        stream = _add_stream(container, rate, painter.size)
        for index, frame_masks in enumerate(tqdm(masks, desc="film", unit="frame", disable=not progress, leave=False)):
            frame = av.VideoFrame.from_ndarray(painter.draw(index, frame_masks), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    description = {
        "content": "frames with automatic segmentation masks, for looking at; measure in the masks instead",
        "intended_use": INTENDED_USE,
        "frames_per_second": float(rate),
        "frame_rate_basis": basis,
        "num_frames": clip.num_frames,
    }
    return [path, write_json(path.with_suffix(".json"), description)]


def frame_rate(clip: Clip) -> tuple[Fraction, str]:
    """Frames per second for display, and in words where they come from."""
    interval, times = mean_interval_ms(clip), clip.frame_times_ms
    if interval is None or times is None:
        return DISPLAY_RATE, f"display only: the source gives no frame times, {DISPLAY_RATE} is our choice"
    rate = Fraction(1000 / interval).limit_denominator(1001)
    if (np.abs(np.diff(times) - interval) > IRREGULAR * interval).any():
        return rate, "mean of the source's frame times, which are irregular; each frame shows its own time"
    return rate, "the source's frame times"


def _add_stream(container: av.container.OutputContainer, rate: Fraction, size: tuple[int, int]) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=rate, options={"crf": "17", "preset": "veryfast"})
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.sample_aspect_ratio = Fraction(1)  # as the painter draws, whatever the source's pixels are
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = 1  # ITU-R BT.709
    context.color_range = 1  # limited, as players expect
    return stream
