"""A video's own packets in a new container: no title, no dates, no sound, no subtitles."""

import hashlib
from pathlib import Path

import av

from bundle.data.clip import UnreadableStudyError
from bundle.data.video import OPTIONS
from bundle.deidentify.copies import Copy, copy_path
from bundle.deidentify.pseudonyms import Pseudonyms

FORMATS = {".avi": "avi", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
NOTE = "look at the pixels: text in a video is not described anywhere"


def deidentify_video(source: Path, output: Path, pseudonyms: Pseudonyms) -> Copy:
    """Write a copy of the first video stream as ``<output>/<hash of the content>`` with the same suffix.

    Frames and their times are the same; they are not decoded.

    Args:
        source: AVI, MP4, MOV or MKV; it is only read.
        output: Folder of the copies.
        pseudonyms: Give the name.

    Raises:
        UnreadableStudyError: If there is no video stream in it, or it cannot be copied.
        FileExistsError: If another copy of this video is there already.
    """
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = output / f"{pseudonyms.name('video', digest)}{source.suffix.lower()}"
    is_new = not target.exists()
    try:
        with copy_path(target) as temporary:
            notes = _copy_packets(source, temporary, FORMATS[source.suffix.lower()])
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, UnreadableStudyError):
            raise
        raise UnreadableStudyError(source, f"no video that can be copied ({type(error).__name__})") from None
    return Copy(target, tuple(notes), is_new)


def _copy_packets(source: Path, target: Path, container_format: str) -> list[str]:
    with av.open(f"file:{source}", options=OPTIONS) as original:
        if not original.streams.video:
            raise UnreadableStudyError(source, "no video stream in it")
        stream = original.streams.video[0]
        with av.open(str(target), "w", format=container_format, options={"fflags": "+bitexact"}) as copy:
            copied = copy.add_stream_from_template(stream)
            for packet in original.demux(stream):
                if packet.size:
                    packet.stream = copied
                    copy.mux(packet)
        others = len(original.streams) - 1
    return [NOTE, *([f"{others} other stream(s), such as sound, left out"] if others else [])]
