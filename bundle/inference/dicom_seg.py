"""Masks as DICOM Segmentation (PS3.3 A.51), binary, one segment per structure, linked to the source's frames.

A projection has no place in the patient, but a SEG of many frames needs positions. They are made up in a frame of
reference of their own, z = frame, and the series description says so.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence_item
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from bundle.atomic import atomic_path
from bundle.data.clip import Clip
from bundle.inference.dicom_source import (
    PRIVATE_SCHEME,
    NoDicomSourceError,
    declare_nameless,
    declare_own_codes,
    files_of,
    identify,
    make_dataset,
    name_and_version,
    nameless_source,
    odd_values_kept,
    read_source_header,
)
from bundle.inference.folder import study_key
from bundle.inference.study import INTENDED_USE, NOMINAL_GEOMETRY, SegmentedStudy
from bundle.metrics.kinematics.clip_masks import MaskFrames
from bundle.structures import COLORS

SERIES_DESCRIPTION = "Automatic masks, research use only; positions are fictitious"  # LO: at most 64 characters
EDITED_SERIES_DESCRIPTION = "Annotators' masks, research use only; positions are fictitious"
REFUSED_SERIES_DESCRIPTION = "Automatic masks of what is no lateral swallow study; not for use"

ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
SPACE = Code("309825002", "SCT", "Spatial and Relational Concept")
SUBSTANCE = Code("105590001", "SCT", "Substance")

SEGMENT_CODES: dict[str, tuple[Code, Code]] = {
    "bolus": (SUBSTANCE, Code("bolus", PRIVATE_SCHEME, "Swallowed bolus with contrast")),
    "hyoid": (ANATOMY, Code("21387005", "SCT", "Hyoid bone")),
    "mandible": (ANATOMY, Code("91609006", "SCT", "Mandible")),
    "tongue": (ANATOMY, Code("21974007", "SCT", "Tongue")),
    "pharynx": (ANATOMY, Code("54066008", "SCT", "Pharynx")),
    "epiglottis": (ANATOMY, Code("61563008", "SCT", "Epiglottis")),
    "laryngeal_vestibule": (SPACE, Code("vestibule", PRIVATE_SCHEME, "Laryngeal vestibule")),
    "trachea": (ANATOMY, Code("44567001", "SCT", "Trachea")),
    "upper_oesophageal_sphincter": (ANATOMY, Code("265203", "FMA", "Upper esophageal sphincter")),
    "c2": (ANATOMY, Code("39976000", "SCT", "C2 vertebra")),
    "c3": (ANATOMY, Code("113205007", "SCT", "C3 vertebra")),
    "c4": (ANATOMY, Code("5329002", "SCT", "C4 vertebra")),
}
"""Category (0062,0003; PS3.16 CID 7150) and type (0062,000F) of a segment (PS3.3 C.8.20.4).

SNOMED CT where DICOM's own context groups or public lists have a code, else the Foundational Model of Anatomy (FMA).
The rest is in the private scheme 99VFSS, which readers show by its meaning.
"""

SEGMENT_KINDS = tuple(kind.value for kind in hd.seg.SegmentAlgorithmTypeValues)

MOST_MASKS = 2**16
"""Each mask has a header of its own: more need gigabytes, here and in every viewer."""

SEGMENT_NUMBERS = (
    rb"\x20\x00\x57\x91UL..",  # Dimension Index Values (0020,9157), of which the first is the segment's
    rb"\x62\x00\x0b\x00US..",  # Referenced Segment Number (0062,000B)
)
"""What stands before a segment's number in an encoded item: tag, VR and length."""

MOST_PIXEL_BYTES = 2**32 - 2
"""Of uncompressed pixel data (PS3.5 7.1.2)."""


@dataclass(frozen=True)
class SegmentOrigin:
    """Who made a segment (PS3.3 C.8.20.2).

    Attributes:
        kind: ``AUTOMATIC``: the model alone; ``SEMIAUTOMATIC``: the model, and a person; ``MANUAL``: a person alone.
        model: Name, version and, where it is known, ``sha256`` of the model's weights; None for a person alone.
    """

    kind: str
    model: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.kind not in SEGMENT_KINDS:
            raise ValueError(f"kind must be one of {', '.join(SEGMENT_KINDS)}, got {self.kind!r}")


class TooLongForSegError(ValueError):
    """More masks than a SEG can hold."""


def write_dicom_seg(
    study: SegmentedStudy,
    path: Path,
    keep_identity: bool = False,
    origins: Sequence[SegmentOrigin] | None = None,
    creator: str = "",
) -> Path:
    """Write masks, one binary segment per structure and frame, empty ones too; they are taken one at a time.

    MONAI's reader stops at a SEG without its empty frames.

    UIDs of the source's study, series and instances are kept, since a viewer finds the source by them. Nothing else of
    its header is, unless ``keep_identity``: the study's key, or that of its files, stands for the patient.

    Args:
        study: Of a multi-frame DICOM file, or single-frame ones of one series.
        path: File to write.
        keep_identity: Copy name, id, birth date, sex, accession number and study date, for a PACS that files by them.
        origins: Who made each structure's masks; the study's model alone when None.
        creator: Name of the person who made or accepted the masks; empty if it is not known.

    Raises:
        NoDicomSourceError: If the clip is no DICOM, has no UIDs to refer to, or is not whole.
        TooLongForSegError: If there are more masks than ``MOST_MASKS``, or bits than fit.
    """
    clip = study.clip
    paths = files_of(clip.origin)
    _check_frames(clip, len(paths))
    _check_length(study.masks)
    pseudonym = study.key or study_key(paths[0] if len(paths) == 1 else paths[0].parent)
    origins = origins or [SegmentOrigin("AUTOMATIC", study.model)] * len(study.structures)
    with odd_values_kept():
        headers = [read_source_header(path, "DICOM SEG") for path in paths]
        segmentation = _segment(study, _make_sources(headers, clip, pseudonym), origins)
        _correct(segmentation, headers[0], "" if study.verdict is None else f"; input check: {study.verdict.words}")
        segmentation.ContentCreatorName = _person_name(creator)
        if keep_identity:
            identify(segmentation, headers[0])
        else:
            declare_nameless(segmentation, "masks")
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            _write(segmentation, study.masks, file)
    return path


def segment_code(structure: str) -> tuple[Code, Code]:
    """Category and type of a structure; one that is not in ``SEGMENT_CODES`` gets its name in 99VFSS."""
    own = Code(structure, PRIVATE_SCHEME, structure.replace("_", " ").capitalize()[:64])
    return SEGMENT_CODES.get(structure, (ANATOMY, own))


def _segment(
    study: SegmentedStudy, sources: Sequence[Dataset], origins: Sequence[SegmentOrigin]
) -> hd.seg.Segmentation:
    """All but the masks: a stand-in of one pixel each, since highdicom wants all in one array, and takes its time."""
    is_first = np.arange(len(study.structures)) == 0
    name, version = name_and_version(study.model)
    description = REFUSED_SERIES_DESCRIPTION if study.verdict and study.verdict.reason else SERIES_DESCRIPTION
    is_automatic = all(origin.kind == "AUTOMATIC" for origin in origins)
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.tile(is_first, (study.clip.num_frames, 1, 1, 1)),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_describe_segments(study.structures, origins),
        series_instance_uid=hd.UID(),
        series_number=1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="not stated",
        manufacturer_model_name=name[:64],
        software_versions=version[:64],
        device_serial_number="not stated",
        content_label="VFSS_MASKS",
        content_description=_describe_spacing(study.clip),
        series_description=description if is_automatic else EDITED_SERIES_DESCRIPTION,
        omit_empty_frames=True,  # all but the first structure's, until `_items_of_all`
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def _write(segmentation: hd.seg.Segmentation, masks: MaskFrames, file: BinaryIO) -> None:
    """Write the header, then its two last elements piece by piece: the item of every mask, and all masks."""
    num_frames, num_structures, rows, columns = masks.shape
    segmentation.Rows, segmentation.Columns = rows, columns
    segmentation.NumberOfFrames = num_structures * num_frames
    has_overlaps = num_structures > 1 and any((frame.astype(np.uint8).sum(axis=0) > 1).any() for frame in masks)
    segmentation.SegmentsOverlap = "YES" if has_overlaps else "NO"
    items, order = segmentation.PerFrameFunctionalGroupsSequence, _frames_in_order(segmentation)
    del segmentation.PerFrameFunctionalGroupsSequence, segmentation.PixelData
    segmentation.save_as(file)
    encoded = _items_of_all(items, num_structures)
    file.write(_element(0x5200, 0x9230, b"SQ", encoded.size) + encoded.tobytes())
    length = -(-num_structures * num_frames * rows * columns // 8)
    file.write(_element(0x7FE0, 0x0010, b"OB", length + length % 2))
    places = ((frame, structure) for structure in range(num_structures) for frame in order)
    planes = (np.asarray(masks[place]).reshape(-1) for place in places)
    while group := list(islice(planes, 8)):  # whole bytes: frames follow each other without a gap between their bits
        file.write(np.packbits(np.concatenate(group), bitorder="little").data)
    file.write(bytes(length % 2))


def _element(group: int, element: int, vr: bytes, length: int) -> bytes:
    """The start of an element with a long value, as in explicit VR little endian (PS3.5 7.1.2)."""
    return struct.pack("<HH2s2xI", group, element, vr, length)


def _frames_in_order(segmentation: hd.seg.Segmentation) -> list[int]:
    """Indices of the frames as the items of the first structure's masks name them."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]  # what all frames have in common, such as one position
    items = segmentation.PerFrameFunctionalGroupsSequence
    positions = [(item if "PlanePositionSequence" in item else shared).PlanePositionSequence[0] for item in items]
    return [round(float(position.ImagePositionPatient[2])) for position in positions]  # z = frame


def _items_of_all(items: Sequence[Dataset], num_structures: int) -> np.ndarray:
    """Items of the first structure's masks as bytes, and again for each other structure, with its number instead."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    for item in items:
        write_sequence_item(file, item, ["iso8859"])
    of_all = np.tile(np.frombuffer(file.getvalue(), np.uint8), (num_structures, 1))
    for start in SEGMENT_NUMBERS if num_structures > 1 else ():  # a single one's stands in what all frames share
        places = [found.end() for found in re.finditer(start, file.getvalue(), re.DOTALL)]
        of_all[:, places] = np.arange(1, num_structures + 1)[:, None]  # little endian
    return of_all


def _check_length(masks: MaskFrames) -> None:
    num_frames, num_structures, rows, columns = masks.shape
    most_frames = min(MOST_MASKS, 8 * MOST_PIXEL_BYTES // (rows * columns)) // num_structures
    if num_frames > most_frames:
        raise TooLongForSegError(f"too long for a DICOM SEG, {most_frames} frames at most: cut the film")


def _check_frames(clip: Clip, num_files: int) -> None:
    indices = [origin.index for origin in clip.origin]
    if indices != (list(range(clip.num_frames)) if num_files == 1 else [0] * num_files):
        raise NoDicomSourceError(
            "a DICOM SEG needs a whole clip: every frame of one file, or single-frame files of one series, "
            "not parts of a concatenation"
        )


def _make_sources(headers: Sequence[Dataset], clip: Clip, pseudonym: str) -> list[Dataset]:
    """Stand-ins for highdicom: the files' UIDs and made-up positions, under a class that may have positions."""
    frame_of_reference = generate_uid(entropy_srcs=[headers[0].SOPInstanceUID, "fictitious frame of reference"])
    measures = make_dataset(PixelSpacing=_pixel_spacing_mm(clip), SliceThickness=1)
    orientation = make_dataset(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    sources = []
    for number, header in enumerate(headers):
        source = nameless_source(header, pseudonym)
        source.Rows = source.Columns = 1  # of the stand-in
        source.FrameOfReferenceUID = frame_of_reference
        if len(headers) == 1 and clip.num_frames > 1:
            source.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
            source.NumberOfFrames = clip.num_frames
            shared = make_dataset(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
            source.SharedFunctionalGroupsSequence = [shared]
            positions = [make_dataset(ImagePositionPatient=[0, 0, index]) for index in range(clip.num_frames)]
            source.PerFrameFunctionalGroupsSequence = [make_dataset(PlanePositionSequence=[each]) for each in positions]
        else:
            source.SOPClassUID = SecondaryCaptureImageStorage
            source.ImagePositionPatient = [0, 0, number]
            source.update(measures)
            source.update(orientation)
        sources.append(source)
    return sources


def _pixel_spacing_mm(clip: Clip) -> list[str]:
    return [format_number_as_ds(value) for value in clip.pixel_spacing_mm or (clip.pixel_aspect, 1.0)]


def _describe_spacing(clip: Clip) -> str:
    """Such as ``z = frame; pixel spacing: none, 1 mm is nominal``; of pixels that are not square their width is."""
    nominal = "1 mm" if clip.pixel_aspect == 1 else "a width of 1 mm"
    source = clip.spacing_source if clip.pixel_spacing_mm else f"none, {nominal} is nominal"
    return f"z = frame; pixel spacing: {source}"[:64]


def _describe_segments(structures: Sequence[str], origins: Sequence[SegmentOrigin]) -> list[hd.seg.SegmentDescription]:
    descriptions = []
    for number, (structure, origin) in enumerate(zip(structures, origins, strict=True), start=1):
        category, property_type = segment_code(structure)
        descriptions.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=structure[:64],
                segmented_property_category=category,
                segmented_property_type=property_type,
                algorithm_type=origin.kind,
                algorithm_identification=None if origin.kind == "MANUAL" else _algorithm(origin.model or {}),
                tracking_id=structure[:64],
                tracking_uid=hd.UID(),
                display_color=hd.color.CIELabColor.from_rgb(*COLORS.get(structure, (255, 255, 255))),
            )
        )
    return descriptions


def _algorithm(model: Mapping[str, str]) -> hd.AlgorithmIdentificationSequence:
    name, version = name_and_version(model)
    weights = {"weights_sha256": model["sha256"]} if "sha256" in model else None
    return hd.AlgorithmIdentificationSequence(
        name=name[:64], version=version[:64], family=codes.DCM.ArtificialIntelligence, parameters=weights
    )


def _person_name(name: str) -> str:
    """A name as PN: at most 64 characters, none that parts names or is not printed."""
    return "".join(" " if letter in "\\^=" or not letter.isprintable() else letter for letter in name)[:64].strip()


def _correct(segmentation: Dataset, header: Dataset, comment: str) -> None:
    """Put in what highdicom could not know: the sources' real class, the private coding scheme, the intended use."""
    for element in segmentation.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = header.SOPClassUID
    declare_own_codes(segmentation)
    segmentation.ImageComments = f"{INTENDED_USE}; {NOMINAL_GEOMETRY}{comment}"
