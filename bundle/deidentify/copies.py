"""A copy's file: whole or not there, never another one's, and its folder says what it is."""

import filecmp
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from bundle.atomic import atomic_path, write_json
from bundle.data.clip import UnreadableStudyError, damage_refused
from bundle.data.dicom_files import read_dataset
from bundle.data.sources import COPIES_MARK
from bundle.data.video import OPTIONS
from bundle.deidentify.blacken import Rectangle, blacken
from bundle.deidentify.profile import METHOD, apply_basic_profile, has_graphics_in_pixels
from bundle.deidentify.pseudonyms import Pseudonyms

DONE, DONE_EARLIER, REFUSED = "done", "done earlier", "refused"
BURNED_IN = {"YES": ["look at the pixels: BurnedInAnnotation is YES"], "NO": []}
BURNED_IN_UNKNOWN = ["look at the pixels: BurnedInAnnotation is absent"]
VIDEO_FORMATS = {".avi": "avi", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
VIDEO_NOTE = "look at the pixels: text in a video is not described anywhere"


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    source: Path  # The original
    status: str  # done, done earlier if the same copy was there, or refused
    target: Path | None = None  # The copy; None where refused
    notes: tuple[str, ...] = ()  # Why it was refused, or what a person must look at


@contextmanager
def copy_path(target: Path) -> Iterator[Path]:
    """Give a temporary path that becomes ``target`` if the block ends well and no other copy is there."""
    with atomic_path(target) as temporary:
        yield temporary
        if target.exists() and not filecmp.cmp(temporary, target, shallow=False):
            raise FileExistsError(
                "another copy of this is there already, of another content or made in another way: "
                "remove that, or choose another folder"
            )


def mark_folder(output: Path) -> None:
    """Say once that a folder holds copies: a walk through a folder above leaves it out, and names it."""
    if not (output / COPIES_MARK).exists():
        write_json(output / COPIES_MARK, {"about": "copies of studies without identity", "method": METHOD})


def deidentify_dicom(source: Path, output: Path, pseudonyms: Pseudonyms, rectangle: Rectangle | None = None) -> Outcome:
    """Write a copy as ``<output>/<study>/<series>/<instance>.dcm``, names hashed; the source is only read.

    A rectangle becomes black in every frame; without one pixel data stay as they are.

    Raises:
        UnreadableStudyError: If it is no image, is damaged, or cannot be cleaned.
        FileExistsError: If another copy of this instance is there already.
    """
    # Odd values are kept or dropped, not judged, and remarks would quote them.
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_dataset(source)
        if not dataset.get("SOPInstanceUID"):
            raise UnreadableStudyError(source, "no SOPInstanceUID in it")
        target = _target(output, dataset, pseudonyms)
        status = DONE_EARLIER if target.exists() else DONE
        if rectangle is not None:
            blacken(source, dataset, rectangle)
        elif has_graphics_in_pixels(dataset):
            reason = "an overlay lies in unused bits of the pixels: --blacken 0,0,0,0 clears them"
            raise UnreadableStudyError(source, reason)
        with damage_refused(source):
            apply_basic_profile(dataset, pseudonyms)
            dataset.preamble = bytes(128)
            dataset.file_meta = _new_file_meta(dataset)
        with copy_path(target) as temporary, damage_refused(source):
            dataset.save_as(temporary, enforce_file_format=True)
    notes = list(BURNED_IN.get(str(dataset.get("BurnedInAnnotation")), BURNED_IN_UNKNOWN))
    notes += [] if rectangle is None else ["blackened, written uncompressed"]
    return Outcome(source, status, target, tuple(notes))


def _target(output: Path, dataset: Dataset, pseudonyms: Pseudonyms) -> Path:
    study, series = (str(dataset.get(keyword) or "") for keyword in ("StudyInstanceUID", "SeriesInstanceUID"))
    folder = output / pseudonyms.name("study", study) / pseudonyms.name("series", series)
    return folder / f"{pseudonyms.name('instance', str(dataset.SOPInstanceUID))}.dcm"


def _new_file_meta(dataset: Dataset) -> FileMetaDataset:
    """Only what a file must have: no application entity, no private information."""
    syntax = dataset.file_meta.TransferSyntaxUID
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return meta


def deidentify_video(source: Path, output: Path, pseudonyms: Pseudonyms) -> Outcome:
    """Write a copy of the first video stream as ``<output>/<hash of the content>`` with the same suffix.

    Frames and their times are the same; they are not decoded. Errors are those of ``deidentify_dicom``.
    """
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = output / f"{pseudonyms.name('video', digest)}{source.suffix.lower()}"
    status = DONE_EARLIER if target.exists() else DONE
    try:
        with copy_path(target) as temporary:
            notes = _copy_packets(source, temporary, VIDEO_FORMATS[source.suffix.lower()])
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, UnreadableStudyError):
            raise
        raise UnreadableStudyError(source, f"no video that can be copied ({type(error).__name__})") from None
    return Outcome(source, status, target, tuple(notes))


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
    return [VIDEO_NOTE, *([f"{others} other stream(s), such as sound, left out"] if others else [])]
