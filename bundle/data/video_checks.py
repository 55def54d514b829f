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
    end: FileEnd  # How the file ends
    tick_seconds: float | None  # Length of a tick; None if not stated
    num_packets: int = 0  # Compressed frames that are there, whole
    num_cut: int = 0  # Compressed frames that are cut short
    num_slots: int = 0  # Frames and gaps up to the last one (AVI leaves an empty place for a dropped frame)
    errors: list[str] = field(default_factory=list)  # What the decoder said, once each
    num_errors: int = 0  # How often
    num_corrupt: int = 0  # Decoded frames that the decoder itself calls damaged
    num_interlaced: int = 0  # Decoded frames of two fields
    display_times: list[float | None] = field(default_factory=list)  # Seconds; None for a frame without a time stamp
    decoding_ticks: list[int | None] = field(default_factory=list)  # The same, where display times are not kept

    @classmethod
    def of_header(
        cls, container: av.container.InputContainer, stream: av.VideoStream, end: FileEnd = UNKNOWN_END
    ) -> "Tally":
        """Start from the header of an open file, and from how it ends."""
        name = container.format.name
        rate = 0.0 if name in WITHOUT_RATE else float(stream.average_rate or 0)
        tick = float(stream.time_base) if stream.time_base else None
        seconds = _stated_seconds(container, stream) if end.seconds is None else end.seconds
        return cls(name, stream.frames, seconds, rate, end, tick)

    @property
    def num_frames(self) -> int:
        return len(self.display_times)

    @property
    def has_errors(self) -> bool:
        return self.num_errors > 0

    @property
    def must_be_whole(self) -> bool:
        """Whether the file is an MP4 that ends before its frames do."""
        is_cut = self.num_cut > 0 or self.num_missing > 0 or self.end.is_cut or self.ends_early
        return self.container.startswith("mov") and is_cut

    @property
    def num_missing(self) -> int:
        """Frames that the header counts and the file has not."""
        return max(0, self.stated_frames - max(self.num_packets, self.num_slots))

    @property
    def ends_early(self) -> bool:
        """Whether a frame is missing at the end, by the longest time between two frames."""
        times = sorted(time for time in self.display_times if time is not None)
        if self.stated_seconds is None or not times:
            return False
        gaps = np.diff(times) if len(times) > 1 else np.array([1 / self.rate if self.rate else np.inf])
        return bool(self.stated_seconds - times[-1] > 1.5 * gaps.max())

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

    def damage(self) -> list[str]:
        """Fewer frames than the header states, or frames that could not be decoded, or only with faults."""
        number, words = self.num_frames, []
        last = max((time for time in self.display_times if time is not None), default=0.0)
        if self.num_missing:
            words.append(f"the header says {self.stated_frames} frames, the file has {number}: it may be cut off")
        elif self.num_cut:
            words.append(f"the file ends within a frame, after {number}: it is cut off")
        elif self.ends_early:
            words.append(
                f"the header says {self.stated_seconds:.2f} s, the file's {number} frames end at {last:.2f} s: "
                "it may be cut off"
            )
        elif self.end.is_cut:
            words.append(f"the file ends within a part of its container, after {number} frames: it is cut off")
        if self.has_errors:
            words.append(f"{self.num_errors} of its frames are damaged ({', '.join(self.errors)}) and left out")
        elif self.num_packets > number:
            lost = self.num_packets - number
            words.append(f"{lost} of {self.num_packets} compressed frames gave no picture and are left out")
        if self.num_corrupt:
            words.append(f"{self.num_corrupt} of {number} frames are marked as damaged by the decoder")
        return words

    def remarks(self) -> list[str]:
        """Whether the end could be missing unseen, places that the capture left empty, frames of two fields."""
        words, num_empty = [], self.num_slots - self.num_packets - self.num_cut
        if self.end.is_open and self.stated_seconds is None:
            words.append("the file does not say how long it is: whether frames are missing at its end cannot be told")
        if num_empty > 0:
            words.append(f"{num_empty} frames were dropped by the capture; the others keep their times")
        if self.num_interlaced:
            words.append(
                f"{self.num_interlaced} of {self.num_frames} frames are interlaced: two times in one frame, "
                "so edges in motion are combed; they are left as stored"
            )
        return words

    def times_ms(self, warnings: list[str]) -> tuple[np.ndarray | None, str]:
        """Times from the first frame, and which: display or decoding times, or the header's rate if none is missing."""
        tick = self.tick_seconds
        decoding_times = [None if ticks is None or tick is None else ticks * tick for ticks in self.decoding_ticks]
        for source, times in (("display time stamps", self.display_times), ("decoding time stamps", decoding_times)):
            stamps = np.array([np.nan if time is None else time for time in times], np.float64) * 1000.0
            if len(stamps) == self.num_frames and np.isfinite(stamps).all() and (np.diff(stamps) > 0).all():
                return stamps - stamps[0], source
        is_whole = self.num_frames == max(self.num_packets, self.num_slots)
        if self.rate > 0 and is_whole:
            warnings.append(f"frames have no usable time stamps: times are from the header's {self.rate:g} frames/s")
            return np.arange(self.num_frames, dtype=np.float64) * 1000.0 / self.rate, "the header's frame rate"
        warnings.append("frames have no usable time stamps")
        return None, "none"


def stated_aspect(stream: av.VideoStream, warnings: list[str]) -> float:
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


def _stated_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """End of the stream as Matroska and ASF state it. MPEG states none, and FFmpeg's estimate says nothing."""
    if not container.format.name.startswith(("matroska", "asf")):
        return None
    parts = stream.metadata.get("DURATION", "").replace("\0", "").split(":")
    if len(parts) == 3 and all(part.strip().replace(".", "", 1).isdigit() for part in parts):
        hours, minutes, seconds = (float(part) for part in parts)
        return 3600 * hours + 60 * minutes + seconds
    is_alone = len(container.streams) == 1  # else the container's end may be the sound's
    return container.duration / av.time_base if container.duration and is_alone else None
