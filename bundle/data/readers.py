"""One entry for every kind of source: a file or a folder in, a clip out."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundle.data.clip import MAX_CLIP_BYTES, Clip, ClipShape, UnreadableStudyError, check_size
from bundle.data.dicom import probe_dicom, stream_dicom
from bundle.data.frame_stream import FrameChunk, FrameStream, chunked, collect_clip
from bundle.data.kinds import kind_of, sort_folder
from bundle.data.nifti import probe_nifti, stream_nifti
from bundle.data.sources import own_files
from bundle.data.stills import probe_stills, stream_stills
from bundle.data.video import probe_video, stream_video
from bundle.data.worker import WORKER, Limits, WorkerError, WorkerStartError, decodes_in_process

BASE_SECONDS = 120.0  # a busy machine needs a minute to load a decoder
SECONDS_PER_MEGAPIXEL = 1.0  # the slowest decoder here, JPEG 2000 on one core, needs about a tenth
BASE_BYTES = 2**30

ClipSource = str | Path | Sequence[str | Path]
"""A file, a folder that is one clip, or the single-frame DICOM files of one series."""


def read_clip(source: ClipSource, strict: bool = False) -> Clip:
    """Read a DICOM file or series folder, a video, a picture or folder of pictures, or a NIfTI file.

    What a file is, its content says; a suffix that says otherwise is an error. Decoding runs in a process of its own,
    with limits of time and memory by the header's arithmetic; see ``bundle.data.worker``.

    Args:
        source: A file, a folder that is one clip, or the single-frame DICOM files of one series.
        strict: Whether a video that is cut off is refused; otherwise the frames that are there are read, with a
            warning.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        UnreadableStudyError: If it holds no X-ray clip, or decoding it crashes, hangs or needs too much memory; names
            file and reason.
    """
    path, files = _to_paths(source)
    if decodes_in_process():
        return decode_clip(path, files, strict)
    shape = probe_clip(source)
    return run_for(path, _limits(path, files, shape), decode_clip, path, files, strict)


def stream_clip(
    source: ClipSource, chunk_frames: int = 8, strict: bool = False
) -> Generator[FrameChunk | Clip, None, None]:
    """Read a clip of any length in chunks, of which a few are in memory at a time; at the end the clip without frames.

    The decoding process works ahead. A chunk that begins at frame 0 comes first, and again where decoding has to start
    anew, as for a film with a damaged frame in the middle: what came before is void. Time and memory are limited for
    each chunk. What only the end tells, such as that a film is cut off, is raised there, after the frames. Errors and
    arguments are those of ``read_clip``, but for the size of the clip.
    """
    path, files = _to_paths(source)
    if decodes_in_process():
        yield from decode_chunks(path, files, strict, chunk_frames)
        return
    whole = run_for(path, _limits(path, files, None), _measure, path, files)
    chunk = whole._replace(num_frames=min(chunk_frames, whole.num_frames))
    first_seconds = _limits(path, files, whole).seconds  # percentiles are of the whole clip
    limits = replace(_limits(path, files, chunk), first_seconds=first_seconds)
    stream = WORKER.stream(decode_chunks, path, files, strict, chunk_frames, limits=limits)
    with closing(stream):
        is_end = False
        while not is_end:
            with _blamed_on(path):
                item = next(stream)
                is_end = isinstance(item, Clip)
                if is_end:
                    next(stream, None)  # the process is done, even if the caller does not come back
            yield item


def probe_clip(source: ClipSource) -> ClipShape:
    """Number of frames, rows and columns, from headers only; errors as of ``read_clip``."""
    path, files = _to_paths(source)
    if decodes_in_process():
        return measure_clip(path, files)
    return run_for(path, _limits(path, files, None), measure_clip, path, files)


def decode_clip(path: Path, files: Sequence[Path] = (), strict: bool = False) -> Clip:
    """What ``read_clip`` does, in the calling process and without limits; ``files`` of the folder, if not all."""
    return collect_clip(_stream(path, files, strict, needs_displays=False))


def decode_chunks(
    path: Path, files: Sequence[Path] = (), strict: bool = False, chunk_frames: int = 8
) -> Iterator[FrameChunk | Clip]:
    """What ``stream_clip`` does, in the calling process and without limits."""
    yield from chunked(_stream(path, files, strict, needs_displays=True), chunk_frames)


def measure_clip(path: Path, files: Sequence[Path] = ()) -> ClipShape:
    """What ``probe_clip`` does, in the calling process and without limits; ``files`` of the folder, if not all."""
    shape = _measure(path, files)
    check_size(files[0] if files else path, *shape)
    return shape


def run_for(path: Path, limits: Limits, function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in the decoding process; whatever happens to it, a missing file apart, is an unreadable study."""
    with _blamed_on(path):
        return WORKER.call(function, *args, limits=limits)


def _stream(path: Path, files: Sequence[Path], strict: bool, needs_displays: bool) -> FrameStream:
    if files:
        return stream_dicom(path, files, needs_displays=needs_displays)
    kind = kind_of(path)
    if kind == "folder":
        dicoms, pictures, warnings = sort_folder(path, own_files(path))
        if dicoms:
            return stream_dicom(path, dicoms, warnings, needs_displays)
        return stream_stills(pictures, path.name, warnings)
    if kind == "DICOM":
        return stream_dicom(path, needs_displays=needs_displays)
    if kind == "video":
        return stream_video(path, strict)
    return stream_stills([path], path.stem) if kind == "picture" else stream_nifti(path)


def _measure(path: Path, files: Sequence[Path] = ()) -> ClipShape:
    kind = "DICOM" if files else kind_of(path)
    if kind == "folder":
        files, pictures, _ = sort_folder(path, own_files(path))
        return probe_dicom(path, files) if files else probe_stills(pictures)
    if kind == "DICOM":
        return probe_dicom(path, files)
    if kind == "video":
        return probe_video(path)
    return probe_stills([path]) if kind == "picture" else probe_nifti(path)


@contextmanager
def _blamed_on(path: Path) -> Iterator[None]:
    """Whatever goes wrong in the decoding process is said of the file, without quoting its header."""
    try:
        yield
    except (UnreadableStudyError, FileNotFoundError, WorkerStartError):
        raise
    except WorkerError as error:
        raise UnreadableStudyError(path, str(error)) from None
    except OSError as error:
        raise UnreadableStudyError(path, error.strerror or type(error).__name__) from None
    except Exception as error:  # a decoder's own type, of a damaged file
        raise UnreadableStudyError(path, f"damaged ({type(error).__name__})") from None


def _to_paths(source: ClipSource) -> tuple[Path, tuple[Path, ...]]:
    """The file or folder, and the files of the folder if they were named."""
    files = () if isinstance(source, str | Path) else tuple(Path(file) for file in source)
    path = files[0].parent if files else Path(source)  # type: ignore[arg-type]
    for needed in (path, *files):
        if not needed.exists():
            raise FileNotFoundError(f"no such file or folder: {needed}")
    return path, files


def _limits(path: Path, files: Sequence[Path], shape: ClipShape | None) -> Limits:
    """A generous base, and what the header's arithmetic asks for: twice the clip as float32, within its own limit."""
    num_pixels = shape.num_pixels if shape else 0
    if not files:
        files = [path] if path.is_file() else own_files(path)
    file_bytes = max((file.stat().st_size for file in files), default=0)
    return Limits(
        seconds=BASE_SECONDS + SECONDS_PER_MEGAPIXEL * num_pixels / 1e6,
        num_bytes=BASE_BYTES + 2 * file_bytes + min(2 * 4 * num_pixels, MAX_CLIP_BYTES),
    )
