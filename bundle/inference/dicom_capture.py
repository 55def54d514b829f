"""The overlay film as DICOM, for a PACS: a Multi-frame True Color Secondary Capture (PS3.3 A.8.5) of JPEG frames."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGBaseline8Bit, MultiFrameTrueColorSecondaryCaptureImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from bundle.atomic import atomic_path
from bundle.inference.dicom_source import (
    declare_nameless,
    files_of,
    make_dataset,
    nameless_source,
    odd_values_kept,
    read_source_header,
)
from bundle.inference.folder import study_key
from bundle.inference.overlay import OverlayPainter, frame_rate
from bundle.inference.study import INTENDED_USE, SegmentedStudy
from bundle.metrics.cropped import cropped

SERIES_DESCRIPTION = "Film with automatic masks, research use only"
QUALITY = 90


def write_dicom_capture(study: SegmentedStudy, path: Path) -> Path:
    """Draw the masks over every frame; of the source's header nothing but UIDs is kept.

    Text that is burned into the source's frames stays, so the file says that there may be some.

    Raises:
        NoDicomSourceError: If the clip is no DICOM, or has no UIDs to refer to.
    """
    paths = files_of(study.clip.origin)
    pseudonym = study.key or study_key(paths[0] if len(paths) == 1 else paths[0].parent)
    with odd_values_kept():
        headers = [read_source_header(file, "DICOM capture") for file in paths]
        capture = nameless_source(headers[0], pseudonym)
        capture.update(_description(study, headers))
        declare_nameless(capture, "frames")
        painter = OverlayPainter(study.clip, study.structures)
        frames = [_jpeg(painter.draw(index, cropped(study.masks, index))) for index in range(study.clip.num_frames)]
        capture.update(_pixels(painter.size, frames))
        capture.file_meta = FileMetaDataset()
        capture.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        with atomic_path(path) as temporary:
            capture.save_as(temporary, enforce_file_format=True)
    return path


def _description(study: SegmentedStudy, headers: list[Dataset]) -> Dataset:
    source_image = codes.DCM.SourceImageForImageProcessingOperation
    purpose = make_dataset(
        CodeValue=source_image.value,
        CodingSchemeDesignator=source_image.scheme_designator,
        CodeMeaning=source_image.meaning,
    )
    sources = [
        make_dataset(
            ReferencedSOPClassUID=header.SOPClassUID,
            ReferencedSOPInstanceUID=header.SOPInstanceUID,
            PurposeOfReferenceCodeSequence=[purpose],
        )
        for header in headers
    ]
    return make_dataset(
        SOPClassUID=MultiFrameTrueColorSecondaryCaptureImageStorage,
        SOPInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        SeriesNumber=1002,
        InstanceNumber=1,
        Modality="OT",
        SeriesDescription=SERIES_DESCRIPTION,
        ImageComments=INTENDED_USE,
        ConversionType="WSD",
        Manufacturer="not stated",
        ImageType=["DERIVED", "SECONDARY"],
        PatientOrientation="",
        Laterality="",
        BurnedInAnnotation="YES",
        SourceImageSequence=sources,
        DerivationDescription="automatic masks drawn over the frames",
        FrameTime=format_number_as_ds(float(1000 / frame_rate(study)[0])),
        FrameIncrementPointer=0x00181063,  # Frame Time
    )


def _pixels(size: tuple[int, int], frames: list[bytes]) -> Dataset:
    rows, columns = size
    pixels = make_dataset(
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422",
        PlanarConfiguration=0,
        NumberOfFrames=len(frames),
        Rows=rows,
        Columns=columns,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        LossyImageCompression="01",
        LossyImageCompressionRatio=f"{3 * rows * columns * len(frames) / sum(map(len, frames)):.1f}",
        LossyImageCompressionMethod="ISO_10918_1",
        PixelData=encapsulate(frames),
    )
    pixels["PixelData"].is_undefined_length = True
    return pixels


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling="4:2:2")
    return file.getvalue()
