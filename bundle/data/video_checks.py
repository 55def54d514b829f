"""What a video's header and time stamps promise, against what was decoded."""

from dataclasses import dataclass, field

import av
import numpy as np

from bundle.data.video_ends import UNKNOWN_END, FileEnd

CAPTURE_SIZES = ((720, 480), (720, 486), (720, 576), (704, 480), (704, 576))  # columns, rows of ITU-R BT.601

WITHOUT_RATE = ("h264", "hevc")  # bare streams: FFmpeg fills in 25 frames/s


@dataclass
class Tally:
    """What the header states, and what was met on the way through the file."""

    container: str  # FFmpeg's name of the container
    stated_frames: int  # The header's count; 0 where it has none
    stated_seconds: float | None  # The header's end of the last frame; None where it has none, or only an estimate
    rate: float  # Frames per second by the header; 0 where it has none
    end: FileEnd = UNKNOWN_END  # How the file ends
    num_packets: int = 0  # Compressed frames that are there, whole
    num_cut: int = 0  # Compressed frames that are cut short
    # Frames and gaps up to the last compressed frame (AVI leaves an empty place for a dropped frame)
    num_slots: int = 0
    errors: list[str] = field(default_factory=list)  # What the decoder said, once each
    num_errors: int = 0  # How often
    num_corrupt: int = 0  # Decoded frames that the decoder itself calls damaged
    num_interlaced: int = 0  # Decoded frames of two fields
    display_times: list[float | None] = field(default_factory=list)  # Seconds; None for a frame without a time stamp
    # Decoding time of each compressed frame, as above: in order where display times are not kept
    decoding_ticks: list[int | None] = field(default_factory=list)
    tick_seconds: float | None = None  # Length of a tick; None if not stated

    @classmethod
    def of_header(
        cls, container: av.container.InputContainer, stream: av.VideoStream, end: FileEnd = UNKNOWN_END
    ) -> "Tally":
        """Start from the header of an open file, and from how it ends."""
        name = container.format.name
        rate = 0.0 if name in WITHOUT_RATE else float(stream.average_rate or 0)
        tick = float(stream.time_base) if stream.time_base else None
        return cls(name, stream.frames, _stated_seconds(container, stream, end), rate, end, tick_seconds=tick)

    @property
    def num_frames(self) -> int:
        return len(self.display_times)

    @property
    def has_errors(self) -> bool:
        return self.num_errors > 0

    @property
    def must_be_whole(self) -> bool:
        """Whether the file is an MP4 that ends before its frames do."""
        is_cut = self.num_cut > 0 or self.num_missing > 0 or self.end.is_cut or _ends_early(self)
        return self.container.startswith("mov") and is_cut

    @property
    def num_missing(self) -> int:
        """Frames that the header counts and the file has not."""
        return max(0, self.stated_frames - max(self.num_packets, self.num_slots))

    def add_packet(self, packet: av.Packet) -> None:
        """Count a compressed frame; the empty one at the end of a file is none."""
        if not packet.size:
            return
        self.num_cut += packet.is_corrupt
        self.num_packets += not packet.is_corrupt and not packet.is_discard
        self.stated_frames -= packet.is_discard  # an edit list leaves it out
        if packet.is_corrupt or packet.is_discard:
            return
        self.decoding_ticks.append(packet.dts)
        if self.container == "avi" and packet.dts is not None:
            self.num_slots = max(self.num_slots, packet.dts + 1)

    def add_frame(self, frame: av.VideoFrame) -> None:
        """Note a decoded frame's times and flags."""
        self.num_corrupt += frame.is_corrupt
        self.num_interlaced += frame.interlaced_frame
        self.display_times.append(frame.time)

    def add_error(self, error: av.FFmpegError) -> None:
        """Note what the decoder or the container's reader said."""
        self.num_errors += 1
        words = error.strerror or type(error).__name__
        if words not in self.errors:
            self.errors.append(words)


def damage_warnings(tally: Tally) -> list[str]:
    """Fewer frames than the header states, or frames that could not be decoded, or only with faults."""
    warnings = []
    if tally.num_missing:
        warnings.append(
            f"the header says {tally.stated_frames} frames, the file has {tally.num_frames}: it may be cut off"
        )
    elif tally.num_cut:
        warnings.append(f"the file ends within a frame, after {tally.num_frames}: it is cut off")
    elif _ends_early(tally):
        warnings.append(
            f"the header says {tally.stated_seconds:.2f} s, the file's {tally.num_frames} frames end at "
            f"{_last_time(tally):.2f} s: it may be cut off"
        )
    elif tally.end.is_cut:
        warnings.append(f"the file ends within a part of its container, after {tally.num_frames} frames: it is cut off")
    if tally.has_errors:
        warnings.append(f"{tally.num_errors} of its frames are damaged ({', '.join(tally.errors)}) and left out")
    elif tally.num_packets > tally.num_frames:
        lost = tally.num_packets - tally.num_frames
        warnings.append(f"{lost} of {tally.num_packets} compressed frames gave no picture and are left out")
    if tally.num_corrupt:
        warnings.append(f"{tally.num_corrupt} of {tally.num_frames} frames are marked as damaged by the decoder")
    return warnings


def open_end_warnings(tally: Tally) -> list[str]:
    """A warning where nothing tells a whole file from one that was cut between two of its parts."""
    if not tally.end.is_open or tally.stated_seconds is not None:
        return []
    return ["the file does not say how long it is: whether frames are missing at its end cannot be told"]


def gap_warnings(tally: Tally) -> list[str]:
    """A warning where the capture left places in the file empty."""
    num_empty = tally.num_slots - tally.num_packets - tally.num_cut
    if num_empty <= 0:
        return []
    return [f"{num_empty} frames were dropped by the capture; the others keep their times"]


def interlace_warnings(tally: Tally) -> list[str]:
    """A warning where frames are made of two fields, taken at two times."""
    if not tally.num_interlaced:
        return []
    return [
        f"{tally.num_interlaced} of {tally.num_frames} frames are interlaced: two times in one frame, "
        "so edges in motion are combed; they are left as stored"
    ]


def pixel_aspect(stream: av.VideoStream, warnings: list[str]) -> float:
    """Height of a pixel divided by its width, as stored; a warning where it is not 1, or ought not to be."""
    ratio = stream.sample_aspect_ratio  # width to height; 0 or None if not stated
    if ratio and ratio != 1:
        warnings.append(f"pixels are not square, {ratio.numerator}:{ratio.denominator} (width to height)")
        return float(1 / ratio)
    if not ratio and (stream.width, stream.height) in CAPTURE_SIZES:
        warnings.append(
            f"{stream.width} x {stream.height} captures seldom have square pixels, and the header states no ratio: "
            "they are taken for square, so check distances and angles"
        )
    return 1.0


def frame_times_ms(tally: Tally, warnings: list[str]) -> tuple[np.ndarray | None, str]:
    """Times from the first frame, and which: display or decoding times, or the header's rate if no frame is missing."""
    tick = tally.tick_seconds
    decoding_times = [None if ticks is None or tick is None else ticks * tick for ticks in tally.decoding_ticks]
    for source, times in (("display time stamps", tally.display_times), ("decoding time stamps", decoding_times)):
        stamps = np.array([np.nan if time is None else time for time in times], np.float64) * 1000.0
        if len(stamps) == tally.num_frames and np.isfinite(stamps).all() and (np.diff(stamps) > 0).all():
            return stamps - stamps[0], source
    is_whole = tally.num_frames == max(tally.num_packets, tally.num_slots)
    if tally.rate > 0 and is_whole:
        warnings.append(f"frames have no usable time stamps: times are from the header's {tally.rate:g} frames/s")
        return np.arange(tally.num_frames, dtype=np.float64) * 1000.0 / tally.rate, "the header's frame rate"
    warnings.append("frames have no usable time stamps")
    return None, "none"


def _stated_seconds(
    container: av.container.InputContainer, stream: av.VideoStream, end: FileEnd = UNKNOWN_END
) -> float | None:
    """End of the stream as Matroska, ASF and a fragmented MP4 state it.

    MPEG states none, and FFmpeg's estimate says nothing.
    """
    if end.seconds is not None:
        return end.seconds
    if not container.format.name.startswith(("matroska", "asf")):
        return None
    tag = stream.metadata.get("DURATION", "")
    parts = tag.replace("\0", "").split(":")
    if len(parts) == 3 and all(part.strip().replace(".", "", 1).isdigit() for part in parts):
        hours, minutes, seconds = (float(part) for part in parts)
        return 3600 * hours + 60 * minutes + seconds
    is_alone = len(container.streams) == 1  # else the container's end may be the sound's
    return container.duration / av.time_base if container.duration and is_alone else None


def _last_time(tally: Tally) -> float:
    return max((time for time in tally.display_times if time is not None), default=0.0)


def _ends_early(tally: Tally) -> bool:
    """Whether a frame is missing at the end, by the longest time between two frames."""
    times = sorted(time for time in tally.display_times if time is not None)
    gaps = np.diff(times) if len(times) > 1 else np.array([1 / tally.rate if tally.rate else np.inf])
    if tally.stated_seconds is None or not times:
        return False
    return bool(tally.stated_seconds - times[-1] > 1.5 * gaps.max())
