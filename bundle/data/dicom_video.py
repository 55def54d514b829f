"""Video inside DICOM: MPEG-2, H.264 or HEVC streams as fragments of one pixel data element (PS3.5 8.2.5 to 8.2.9)."""

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.uid import MPEGTransferSyntaxes

from bundle.data.clip import Clip, ClipShape, UnreadableStudyError
from bundle.data.dicom_files import damage_refused
from bundle.data.frame_memory import unnamed_file
from bundle.data.video import read_video


def is_video(dataset: Dataset) -> bool:
    """Whether pixel data are one video stream, by the transfer syntax."""
    return dataset.file_meta.TransferSyntaxUID in MPEGTransferSyntaxes


def decode_video(path: Path, dataset: Dataset, shape: ClipShape) -> Clip:
    """Decode the stream as the video file that it is; its values are for display already.

    Raises:
        UnreadableStudyError: If it cannot be decoded, or has fewer or other frames than the header says.
    """
    with damage_refused(path):
        buffer = BytesIO(dataset.PixelData)
        parse_basic_offsets(buffer)  # moves on to the first fragment
        stream = b"".join(generate_fragments(buffer))
    with unnamed_file(stream) as file:
        try:
            clip = read_video(file)
        except UnreadableStudyError as error:
            raise UnreadableStudyError(path, f"the video in it: {error.reason}") from None
    got = clip.stored.shape[2:]
    if got != (shape.rows, shape.columns):
        stated = (shape.rows, shape.columns)
        raise UnreadableStudyError(path, f"the header says {stated} rows and columns, its frames have {got}")
    if clip.num_frames < shape.num_frames:
        raise UnreadableStudyError(path, f"the header says {shape.num_frames} frames, the file has {clip.num_frames}")
    return clip
