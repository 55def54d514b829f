"""Video inside DICOM: MPEG-2, H.264 or HEVC streams as fragments of one pixel data element (PS3.5 8.2.5 to 8.2.9)."""

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.uid import MPEGTransferSyntaxes

from bundle.data.clip import UnreadableStudyError
from bundle.data.dicom_files import damage_refused
from bundle.data.frame_memory import unnamed_file
from bundle.data.frame_stream import FrameStream, Start
from bundle.data.video import stream_video


def is_video(dataset: Dataset) -> bool:
    """Whether pixel data are one video stream, by the transfer syntax."""
    return dataset.file_meta.TransferSyntaxUID in MPEGTransferSyntaxes


def stream_dicom_video(path: Path, dataset: Dataset, start: Start) -> FrameStream:
    """Decode the stream as the video file that it is; its values are for display already.

    Args:
        path: The DICOM file.
        dataset: Its content.
        start: What its header says. Frames beyond these are left out, though the clip at the end counts them.

    Raises:
        UnreadableStudyError: If it cannot be decoded, or has fewer or other frames than the header says.
    """
    with damage_refused(path):
        buffer = BytesIO(dataset.PixelData)
        parse_basic_offsets(buffer)  # moves on to the first fragment
        stream = b"".join(generate_fragments(buffer))
    with unnamed_file(stream) as file:
        del buffer, stream
        frames, num_frames = stream_video(file), 0
        while True:
            try:
                item = next(frames)
            except StopIteration as end:
                clip = end.value
                break
            except UnreadableStudyError as error:
                raise UnreadableStudyError(path, f"the video in it: {error.reason}") from None
            if isinstance(item, Start):
                _check_size(path, start, item)
                num_frames = 0
                yield start._replace(dtype=item.dtype)
            elif num_frames < start.num_frames:
                num_frames += 1
                yield item
    if clip.num_frames < start.num_frames:
        raise UnreadableStudyError(path, f"the header says {start.num_frames} frames, the file has {clip.num_frames}")
    return clip


def _check_size(path: Path, stated: Start, got: Start) -> None:
    size, other = (stated.rows, stated.columns), (got.rows, got.columns)
    if size != other:
        raise UnreadableStudyError(path, f"the header says {size} rows and columns, its frames have {other}")
