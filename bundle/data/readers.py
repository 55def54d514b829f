"""One entry for every kind of source: a file or a folder in, a clip out."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundle.data.clip import MAX_CLIP_BYTES, Clip, ClipShape, UnreadableStudyError, check_size
from bundle.data.dicom import probe_dicom, probe_dicom_series, stream_dicom, stream_dicom_series
from bundle.data.frame_stream import FrameChunk, FrameStream, chunked, collect_clip
from bundle.data.kinds import READABLE_SUFFIXES, STILL_SUFFIXES, kind_by_content, kind_by_name
from bundle.data.nifti import probe_nifti, stream_nifti
from bundle.data.sources import natural_order, own_files
from bundle.data.stills import probe_still, probe_stills, stream_stills
from bundle.data.video import probe_video, stream_video
from bundle.data.worker import WORKER, Limits, WorkerError, WorkerStartError, decodes_in_process

__all__ = [
    "READABLE_SUFFIXES",
    "FrameChunk",
    "UnreadableStudyError",
    "decode_chunks",
    "decode_clip",
    "measure_clip",
    "probe_clip",
    "read_clip",
    "stream_clip",
]

BASE_SECONDS = 120.0  # a busy machine needs a minute to load a decoder
SECONDS_PER_MEGAPIXEL = 1.0  # the slowest decoder here, JPEG 2000 on one core, needs about a tenth
BASE_BYTES = 2**30


def read_clip(source: str | Path | Sequence[str | Path], strict: bool = False) -> Clip:
    """Read a DICOM file or series folder, a video, a picture or folder of pictures, or a NIfTI file.

    Args:
        source: A file, a folder that is one clip, or the single-frame DICOM files of one series.
        strict: Whether a video that is cut off is refused; otherwise the frames that are there are read, with a
            warning.

    What a file is, its content says; a suffix that says otherwise is an error. Decoding runs in a process of its own,
    with limits of time and memory by the header's arithmetic; see ``bundle.data.worker``.

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
    source: str | Path | Sequence[str | Path], chunk_frames: int = 8, strict: bool = False
) -> Generator[FrameChunk | Clip, None, None]:
    """Read a clip of any length in chunks, of which a few are in memory at a time.

    The decoding process works ahead. A chunk that begins at frame 0 comes first, and again where decoding has to start
    anew, as for a film with a damaged frame in the middle: what came before is void. Time and memory are limited for
    each chunk. What only the end tells, such as that a film is cut off, is raised there, after the frames.

    Args:
        source: As for ``read_clip``.
        chunk_frames: Frames per chunk; the last one may have fewer.
        strict: As for ``read_clip``.

    Yields:
        Chunks of frames, and at the end the clip without its frames.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        UnreadableStudyError: As from ``read_clip``, but for the size of the clip.
    """
    path, files = _to_paths(source)
    if decodes_in_process():
        yield from decode_chunks(path, files, strict, chunk_frames)
        return
    whole = run_for(path, _limits(path, files, None), _measure, path, files)
    chunk = ClipShape(min(chunk_frames, whole.num_frames), whole.rows, whole.columns)
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


def probe_clip(source: str | Path | Sequence[str | Path]) -> ClipShape:
    """Number of frames, rows and columns, from headers only.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        UnreadableStudyError: If it holds no X-ray clip; names file and reason.
    """
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


def _stream(path: Path, files: Sequence[Path], strict: bool, needs_displays: bool) -> FrameStream:
    if files:
        return stream_dicom_series(path, files, needs_displays=needs_displays)
    kind = _kind(path)
    if kind == "folder":
        return _stream_folder(path, needs_displays)
    if kind == "DICOM":
        return stream_dicom(path, needs_displays)
    if kind == "video":
        return stream_video(path, strict)
    if kind == "picture":
        return stream_stills([path], name=path.stem)
    return stream_nifti(path)


def measure_clip(path: Path, files: Sequence[Path] = ()) -> ClipShape:
    """What ``probe_clip`` does, in the calling process and without limits; ``files`` of the folder, if not all."""
    shape = _measure(path, files)
    check_size(files[0] if files else path, shape.num_frames, shape.rows, shape.columns)
    return shape


def _measure(path: Path, files: Sequence[Path] = ()) -> ClipShape:
    if files:
        return probe_dicom_series(path, files)
    kind = _kind(path)
    if kind == "folder":
        dicoms, pictures, _ = _sort_folder(path)
        if dicoms:
            return probe_dicom_series(path, dicoms)
        return probe_stills(natural_order(pictures))
    probe = {"DICOM": probe_dicom, "video": probe_video, "picture": probe_still, "NIfTI": probe_nifti}
    return probe[kind](path)


def run_for(path: Path, limits: Limits, function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in the decoding process; whatever happens to it is the file's fault.

    Raises:
        FileNotFoundError: If the function does.
        UnreadableStudyError: For every other failure of the function or the process.
        WorkerStartError: If there is no process.
    """
    with _blamed_on(path):
        return WORKER.call(function, *args, limits=limits)


@contextmanager
def _blamed_on(path: Path) -> Iterator[None]:
    try:
        yield
    except (UnreadableStudyError, FileNotFoundError, WorkerStartError):
        raise
    except WorkerError as error:
        raise UnreadableStudyError(path, str(error)) from None
    except OSError as error:
        raise UnreadableStudyError(path, error.strerror or type(error).__name__) from None
    except Exception as error:  # a decoder's own type, of a damaged file; its message may quote the header
        raise UnreadableStudyError(path, f"damaged ({type(error).__name__})") from None


def _to_paths(source: str | Path | Sequence[str | Path]) -> tuple[Path, tuple[Path, ...]]:
    """The file or folder, and the files of the folder if they were named."""
    files = () if isinstance(source, str | Path) else tuple(Path(file) for file in source)
    path = files[0].parent if files else Path(source)  # type: ignore[arg-type]
    for needed in (path, *files):
        if not needed.exists():
            raise FileNotFoundError(f"no such file or folder: {needed}")
    return path, files


def _limits(path: Path, files: Sequence[Path], shape: ClipShape | None) -> Limits:
    """A generous base, and what the header's arithmetic asks for: twice the clip as float32, within its own limit."""
    pixels = shape.num_frames * shape.rows * shape.columns if shape else 0
    if not files:
        files = [path] if path.is_file() else own_files(path)
    file_bytes = max((file.stat().st_size for file in files), default=0)
    return Limits(
        seconds=BASE_SECONDS + SECONDS_PER_MEGAPIXEL * pixels / 1e6,
        num_bytes=BASE_BYTES + 2 * file_bytes + min(2 * 4 * pixels, MAX_CLIP_BYTES),
    )


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    if not path.is_file():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.stat().st_size == 0:
        raise UnreadableStudyError(path, "the file is empty")
    named = kind_by_name(path)
    content = kind_by_content(path)
    if content is None and named == "DICOM":
        return "DICOM"  # without a preamble; read_dicom asks for SOP class and pixel data
    if content is None and named == "NIfTI" and path.name.lower().endswith(".gz"):
        return "NIfTI"  # read_nifti looks inside
    if content is None:
        expected = f"named {path.suffix}, but its content is" if named else "its content is"
        raise UnreadableStudyError(path, f"{expected} no DICOM, video, PNG, JPEG, TIFF or NIfTI")
    if named not in (None, content):
        raise UnreadableStudyError(path, f"named {path.suffix}, but its content is {content}: rename it if it is right")
    return content


def _stream_folder(folder: Path, needs_displays: bool) -> FrameStream:
    dicoms, pictures, warnings = _sort_folder(folder)
    if dicoms:
        return stream_dicom_series(folder, dicoms, warnings, needs_displays)
    return stream_stills(natural_order(pictures), name=folder.name, warnings=warnings)


def _sort_folder(folder: Path) -> tuple[list[Path], list[Path], list[str]]:
    """DICOM files, pictures, and a warning that names the files which are neither."""
    files = own_files(folder)
    dicoms = [file for file in files if kind_by_content(file) == "DICOM"]
    pictures = [file for file in files if file.suffix.lower() in STILL_SUFFIXES]
    if dicoms and pictures:
        raise UnreadableStudyError(folder, f"mixes {len(dicoms)} DICOM files with {len(pictures)} pictures")
    if not dicoms and not pictures:
        raise UnreadableStudyError(folder, f"no DICOM, PNG, JPEG or TIFF file among its {len(files)} files")
    taken = {*dicoms, *pictures}
    excluded = [f"'{file.name}'" for file in files if file not in taken]
    return dicoms, pictures, [f"excluded, not part of the clip: {', '.join(excluded)}"] if excluded else []
