"""AVI, MP4 and other video files by PyAV: decoded from the first frame to the last, with their time stamps."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from bundle.data.clip import Clip, ClipShape, FrameOrigin, UnreadableStudyError, check_size
from bundle.data.stills import GREY_TOLERANCE, colour_warning

VIDEO_SUFFIXES = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".wmv")
DUPLICATE_SHARE = 0.2  # a capture at twice the pulse rate has 0.5


def read_video(path: Path) -> Clip:
    """Decode every frame to grey.

    A cut file gives the frames that are there, and a warning.

    Raises:
        UnreadableStudyError: If there is no video stream or no frame can be decoded.
    """
    warnings: list[str] = []
    with _open(path) as container:
        stream = _video_stream(path, container)
        check_size(path, max(1, stream.frames), stream.height, stream.width)
        stream.thread_type = "AUTO"
        decoded = list(_decode(path, container, stream, warnings))
        stated_frames, rate = stream.frames, stream.average_rate
    if not decoded:
        raise UnreadableStudyError(path, "no frame could be decoded")
    if stated_frames > len(decoded):
        warnings.append(f"the header says {stated_frames} frames, the file has {len(decoded)}: it may be cut off")
    frames = np.stack([frame for frame, _ in decoded])  # (T, H, W)
    return Clip(
        frames=(frames[:, None] / np.float32(255)).astype(np.float32, copy=False),
        frame_times_ms=_frame_times_ms([time for _, time in decoded], float(rate or 0), warnings),
        pixel_spacing_mm=None,
        spacing_source="none",
        origin=tuple(FrameOrigin(path, index) for index in range(len(frames))),
        warnings=tuple(dict.fromkeys(warnings + _duplicate_warning(frames))),
        name=path.stem,
    )


def probe_video(path: Path) -> ClipShape:
    """Size of the clip; frames are counted by their packets, since the header's count is often wrong."""
    with _open(path) as container:
        stream = _video_stream(path, container)
        try:
            num_frames = sum(packet.size > 0 for packet in container.demux(stream))
        except av.FFmpegError as error:
            raise UnreadableStudyError(path, f"damaged video ({error.strerror})") from error
        return ClipShape(num_frames, stream.height, stream.width)


def _open(path: Path) -> av.container.InputContainer:
    try:
        return av.open(str(path), mode="r")
    except av.FFmpegError as error:
        raise UnreadableStudyError(path, f"no video that FFmpeg can open ({error.strerror})") from error


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise UnreadableStudyError(path, "no video stream in it")
    stream = container.streams.video[0]
    if stream.codec_context is None or not stream.height:
        raise UnreadableStudyError(path, "no decoder for its video stream")
    return stream


def _decode(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, warnings: list[str]
) -> Iterator[tuple[np.ndarray, float | None]]:  # (H, W) uint8, seconds
    count = 0
    size = None
    try:
        for frame in container.decode(stream):
            if size is None:
                size = (frame.width, frame.height)
                warnings += _first_frame_warnings(frame)
            if (frame.width, frame.height) != size:  # the stream's own size changes with its frames
                raise UnreadableStudyError(path, f"the frame size changes at frame {count}")
            grey = frame.to_ndarray(format="gray")
            if frame.rotation:
                grey = np.rot90(grey, k=round(frame.rotation / 90))
            yield grey, frame.time
            count += 1
            if count % 256 == 0:
                check_size(path, count, stream.height, stream.width)
    except av.FFmpegError as error:
        warnings.append(f"decoding stopped after {count} frames ({error.strerror}): the file is damaged or cut off")


def _first_frame_warnings(frame: av.VideoFrame) -> list[str]:
    warnings = []
    if frame.rotation:
        warnings.append(f"turned by {frame.rotation} degrees, as the file's display matrix asks")
    if "gray" not in frame.format.name:
        rgb = frame.to_ndarray(format="rgb24").astype(np.int16)
        share = float((np.ptp(rgb, axis=-1) > 2 * GREY_TOLERANCE).mean())
        warnings += [colour_warning(share)] if share > 0.001 else []
    return warnings


def _frame_times_ms(times: list[float | None], rate: float, warnings: list[str]) -> np.ndarray | None:
    if None not in times:
        stamps = np.array(times, np.float64) * 1000.0
        if len(stamps) == 1 or (np.diff(stamps) > 0).all():
            return stamps - stamps[0]
    if rate > 0:
        warnings.append(f"frames have no usable time stamps: times are from the header's {rate:g} frames/s")
        return np.arange(len(times), dtype=np.float64) * 1000.0 / rate
    return None


def _duplicate_warning(frames: np.ndarray) -> list[str]:  # (T, H, W) uint8
    if len(frames) < 10:
        return []
    sparse = frames[:, ::8, ::8].astype(np.int16)
    duplicates = int((np.abs(np.diff(sparse, axis=0)).mean(axis=(1, 2)) < 0.05).sum())
    if duplicates < DUPLICATE_SHARE * len(frames):
        return []
    return [f"{duplicates} of {len(frames)} frames repeat the one before: the pulse rate was below the frame rate"]
