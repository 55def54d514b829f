"""AVI, MP4 and other video files by PyAV: decoded from the first frame to the last, with their time stamps."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from bundle.data.clip import Clip, ClipShape, Display, FrameOrigin, UnreadableStudyError, check_frame
from bundle.data.frame_stream import ClipStart, FrameStream, PassedFrames, StreamedFrame
from bundle.data.stills import GRAY_TOLERANCE, color_warning
from bundle.data.video_checks import Tally, stated_aspect
from bundle.data.video_ends import file_end

COLOR_SAMPLES = 128  # rows and columns that are looked at
COLOR_FRAMES = (0, *(4**power for power in range(12)))
LUMA_FIRST = ("gray", "nv12", *(f"yuv{j}{sampling}p" for j in ("", "j") for sampling in (411, 420, 422, 440, 444)))
"""Formats of 8 bits whose first plane is the luma."""

LIMITED_RANGE = Display(np.clip((np.arange(256) - 16) / 219, 0, 1).astype(np.float32))
"""Luma in which 16 is black and 235 white (ITU-R BT.601 and BT.709)."""

JPEG_RANGE = 2  # AVCOL_RANGE_JPEG: full

OPTIONS = {  # FFmpeg may follow play lists and addresses inside a file: only these containers, only from the disk
    "format_whitelist": "avi,mov,matroska,webm,mpeg,mpegvideo,mpegts,asf,h264,hevc",
    "protocol_whitelist": "file",
}


@dataclass(frozen=True)
class Orientation:
    """How the file asks to show its frames: rows and columns exchanged first, then each read forwards or backwards."""

    is_transposed: bool = False
    row_step: int = 1
    column_step: int = 1

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """Turn a frame ``(H, W)``; one that is as it should be is returned as it is."""
        if self == Orientation():
            return frame
        return (frame.T if self.is_transposed else frame)[:: self.row_step, :: self.column_step]

    def warnings(self) -> list[str]:
        """What was done to the frames, in words; empty for frames that are as they should be."""
        if self == Orientation():
            return []
        flips = (self.is_transposed, self.row_step, self.column_step)
        turns = {(True, 1, -1): 90, (False, -1, -1): 180, (True, -1, 1): 270}
        done = f"turned {turns[flips]} degrees clockwise" if flips in turns else "mirrored"
        return [f"{done}, as the file's display matrix asks"]


def stream_video(path: Path, strict: bool = False) -> FrameStream:
    """Decode every frame to gray, upright, at the file's bit depth; starts again where a frame is damaged.

    A cut or damaged file gives the frames that are there, and a warning; a cut MP4 is refused, as its header states
    which frames belong to it. Strict refuses also what would only be warned of.
    """
    warnings: list[str] = []
    start, tally = yield from _frames(path, "AUTO", warnings)
    if tally.has_errors:  # threads drop good frames beside a bad one; one thread gives every frame that is there
        warnings.clear()
        start, tally = yield from _frames(path, "NONE", warnings)
    damage = tally.damage()
    if start is None:
        raise UnreadableStudyError(path, f"no frame could be decoded{''.join(f': {words}' for words in damage[:1])}")
    if damage and (strict or tally.must_be_whole):
        raise UnreadableStudyError(path, damage[0])
    warnings += damage + tally.remarks()
    times, times_source = tally.times_ms(warnings)
    return Clip(
        stored=PassedFrames((tally.num_frames, 1, start.rows, start.columns), start.dtype),
        frame_times_ms=times,
        pixel_spacing_mm=None,
        spacing_source="none",
        origin=tuple(FrameOrigin(path, index) for index in range(tally.num_frames)),
        name=path.stem,
        pixel_aspect=start.pixel_aspect,
        frame_times_source=times_source,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def probe_video(path: Path) -> ClipShape:
    """Size of the clip; frames are counted by their packets, since the header's count is often wrong."""
    with _open(path) as container:
        stream = _video_stream(path, container)
        shape = (stream.height, stream.width)
        tally = Tally.of_header(container, stream)
        packets = _packets(container, stream, tally)
        first = next(_decode(packets, tally), None)  # its display matrix may exchange rows and columns
        for _ in packets:
            pass
    if not tally.num_packets:
        raise UnreadableStudyError(path, "no frame in it")
    if first is not None and _orientation(path, first).is_transposed:
        shape = shape[::-1]
    return ClipShape(tally.num_packets, *shape)


def _open(path: Path) -> av.container.InputContainer:
    try:
        return av.open(f"file:{path}", mode="r", options=OPTIONS)
    except av.FFmpegError as error:
        raise UnreadableStudyError(path, f"no video that FFmpeg can open ({error.strerror})") from error


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    streams = [stream for stream in container.streams.video if not _is_picture(stream)]
    if not streams:
        raise UnreadableStudyError(path, "no video stream in it")
    stream = streams[0]
    if stream.codec_context is None or not stream.height:
        raise UnreadableStudyError(path, "no decoder for its video stream")
    check_frame(path, max(1, stream.frames), stream.height, stream.width)
    return stream


def _is_picture(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)  # a sound file's cover


def _frames(
    path: Path, threads: str, warnings: list[str]
) -> Generator[ClipStart | StreamedFrame, None, tuple[ClipStart | None, Tally]]:
    """All frames; with several threads only up to the first error. Returns the start, if there was a frame."""
    start = None
    with _open(path) as container:
        stream = _video_stream(path, container)
        num_expected = stream.frames or max(1, _count_packets(path))
        check_frame(path, num_expected, stream.height, stream.width)
        stream.thread_type = threads
        tally = Tally.of_header(container, stream, file_end(path, container.format.name))
        if len(container.streams.video) > 1:
            warnings.append(f"{len(container.streams.video)} video streams in it: the first is read")
        orientation, size = Orientation(), (stream.width, stream.height)
        for index, frame in enumerate(_decode(_packets(container, stream, tally), tally)):
            if threads == "AUTO" and tally.has_errors:
                break
            if (frame.width, frame.height) != size:  # the stream's own size changes with its frames
                change = f"{size[0]} x {size[1]} to {frame.width} x {frame.height}"
                raise UnreadableStudyError(path, f"the frame size changes at frame {index}: {change} pixels")
            gray, display = _to_gray(frame)
            if start is None:
                orientation = _orientation(path, frame)
                aspect = stated_aspect(stream, warnings)
                aspect = 1 / aspect if orientation.is_transposed else aspect
                warnings += orientation.warnings()
                rows, columns = orientation.apply(gray).shape
                start = ClipStart(path, num_expected, rows, columns, gray.dtype, aspect)
                yield start
            if index in COLOR_FRAMES:
                warnings += _color_warnings(frame)
            tally.add_frame(frame)
            yield StreamedFrame(orientation.apply(gray), display)
    return start, tally


def _count_packets(path: Path) -> int:
    with _open(path) as container:
        stream = _video_stream(path, container)
        tally = Tally.of_header(container, stream)
        for _ in _packets(container, stream, tally):
            pass
        return tally.num_packets


def _packets(container: av.container.InputContainer, stream: av.VideoStream, tally: Tally) -> Iterator[av.Packet]:
    """Compressed frames in the file's order, counted; those that are cut short are left out."""
    try:
        for packet in container.demux(stream):
            tally.add_packet(packet)
            if not packet.is_corrupt:
                yield packet
    except av.FFmpegError as error:
        tally.add_error(error)


def _decode(packets: Iterator[av.Packet], tally: Tally) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded; what cannot is counted and passed over."""
    for packet in packets:
        try:
            yield from packet.decode()
        except av.FFmpegError as error:
            tally.add_error(error)


def _to_gray(frame: av.VideoFrame) -> tuple[np.ndarray, Display | None]:
    """Gray ``(H, W)``, and how it is shown, or None for full range: uint8, or uint16 for more than 8 bits."""
    name = frame.format.name
    if name in LUMA_FIRST:
        plane = frame.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        is_full = name == "gray" or name.startswith("yuvj") or frame.color_range == JPEG_RANGE
        return luma, None if is_full else LIMITED_RANGE
    is_deep = frame.format.components[0].bits > 8
    return frame.to_ndarray(format="gray16le" if is_deep else "gray"), None


def _orientation(path: Path, frame: av.VideoFrame) -> Orientation:
    """Read the display matrix (ISO/IEC 14496-12, 6.2.2): x' = a x + c y, y' = b x + d y."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = (int(value) for value in np.sign(np.frombuffer(matrix, np.int32)[:5]))
    if (a, d) == (0, 0) and b and c:
        return Orientation(is_transposed=True, row_step=b, column_step=c)
    if (b, c) == (0, 0) and a and d:
        return Orientation(row_step=d, column_step=a)
    raise UnreadableStudyError(path, f"its display matrix turns frames by {frame.rotation} degrees, not by 90s")


def _color_warnings(frame: av.VideoFrame) -> list[str]:
    if "gray" in frame.format.name:
        return []
    width, height = min(frame.width, COLOR_SAMPLES), min(frame.height, COLOR_SAMPLES)
    rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="POINT")
    red, green, blue = (rgb[..., channel] for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    share = float((spread > 2 * GRAY_TOLERANCE).mean())
    return [color_warning(share)] if share > 0.001 else []
