"""Write a phantom study as hospitals deliver it: multi-frame DICOM (RF or XA), AVI, PNG folder; masks as NIfTI.

Tags follow DICOM PS3.3 A.14 (X-Ray Angiographic) and A.16 (X-Ray Radiofluoroscopic Image IOD).
"""

import gzip
import json
import uuid
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import nibabel as nib
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRLittleEndian,
    RLELossless,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from bundle.phantom.study import PhantomStudy
from bundle.phantom.xray import STORED_OFFSET, STORED_RANGE

Modality = Literal["RF", "XA"]
_SOP_CLASS = {"RF": XRayRadiofluoroscopicImageStorage, "XA": XRayAngiographicImageStorage}


def write_dicom(
    study: PhantomStudy, path: Path, patient: str, modality: Modality = "RF", rle: bool = False, calibrated: bool = True
) -> None:
    """Write the stored 12-bit values as a multi-frame cine; the header says PHANTOM whatever the patient's id is.

    Calibrated, it gives PixelSpacing with its calibration; otherwise only ImagerPixelSpacing in the detector plane.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _identify(dataset, study, patient, modality)
    _describe_acquisition(dataset, study, calibrated)
    _describe_shutter(dataset, study)
    _describe_pixels(dataset, study)
    dataset.PixelData = study.stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    if rle:
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _identify(dataset: Dataset, study: PhantomStudy, patient: str, modality: Modality) -> None:
    def uid(kind: str) -> str:
        # PS3.5 B.2: a UUID as a UID; the name-based one is the same on every run.
        domain = study.description["domain"]
        generator = "phantom" if domain == "standard" else f"{domain} phantom"
        name = f"{generator} {study.seed} {study.stored.shape} {patient} {kind}"
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"

    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.SOPClassUID = _SOP_CLASS[modality]
    dataset.SOPInstanceUID = uid("instance")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid("series")
    dataset.StudyDate = dataset.ContentDate = "20000101"
    dataset.StudyTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = ""
    dataset.Modality = modality
    dataset.Manufacturer = "PHANTOM (synthetic)"
    dataset.ReferringPhysicianName = ""
    dataset.SyntheticData = "YES"
    dataset.StudyDescription = "SYNTHETIC swallowing study"
    dataset.SeriesDescription = "SYNTHETIC VFSS, lateral: generated, no patient"
    dataset.PatientName = f"PHANTOM^{patient}"
    dataset.PatientID = f"PHANTOM-{patient}"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.PatientOrientation = ["A", "F"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"


def _describe_acquisition(dataset: Dataset, study: PhantomStudy, calibrated: bool) -> None:
    machine = study.description["machine"]
    detector = [f"{value * machine['magnification']:.6f}" for value in study.pixel_spacing_mm]
    dataset.BodyPartExamined = "NECK"
    dataset.KVP = "70"
    dataset.RadiationSetting = "SC"
    dataset.ExposureTime = dataset.XRayTubeCurrent = None
    dataset.PositionerMotion = "STATIC"
    dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = "90", "0"
    dataset.ImagerPixelSpacing = detector
    dataset.EstimatedRadiographicMagnificationFactor = f"{machine['magnification']:.5f}"
    if calibrated:
        dataset.PixelSpacing = [f"{value:.6f}" for value in study.pixel_spacing_mm]
        dataset.PixelSpacingCalibrationType = "FIDUCIAL" if machine["marker"] == "disc" else "GEOMETRY"
        dataset.PixelSpacingCalibrationDescription = "Exact by construction, in the plane of the pharynx"
    num_frames = len(study.stored)
    dataset.NumberOfFrames = num_frames
    if num_frames > 1:
        dataset.FrameTime = f"{study.frame_times_ms[1] - study.frame_times_ms[0]:.6f}"
        dataset.FrameIncrementPointer = Tag("FrameTime")
        rate = 1000.0 / float(dataset.FrameTime)
        dataset.CineRate = dataset.RecommendedDisplayFrameRate = max(1, round(rate))


def _describe_shutter(dataset: Dataset, study: PhantomStudy) -> None:
    """Rectangular collimator as a display shutter, in pixels counted from 1."""
    machine, size = study.description["machine"], study.stored.shape[1]
    edges = [round((value / machine["field_mm"] + 0.5) * size) for value in machine["shutter_mm"]]
    left, top, right, bottom = (int(np.clip(edge, 1, size)) for edge in edges)
    dataset.ShutterShape = ["RECTANGULAR"]
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = left, right
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = top, bottom
    if machine["is_round"]:
        dataset.ShutterShape = ["RECTANGULAR", "CIRCULAR"]
        dataset.CenterOfCircularShutter = [size // 2, size // 2]
        dataset.RadiusOfCircularShutter = size // 2


def _describe_pixels(dataset: Dataset, study: PhantomStudy) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = study.stored.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LIN" if study.description["gray_scale"] == "linear" else "LOG"
    dataset.PixelIntensityRelationshipSign = 1
    # PS3.3 C.11.2.1.2.1: the linear window runs from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
    dataset.WindowWidth = str(STORED_RANGE + 1)
    dataset.WindowCenter = str(STORED_OFFSET + STORED_RANGE / 2 + 0.5)


def write_avi(study: PhantomStudy, path: Path) -> None:
    """Write an 8-bit Motion-JPEG video; it keeps the timing but no spacing, as frame grabbers do."""
    frames = to_8_bit(study)
    interval = study.frame_times_ms[1] if len(frames) > 1 else 1000.0
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(1000.0 / interval).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.options = {"q:v": "2", "qmin": "2", "qmax": "2"}
        for values in frames:
            picture = av.VideoFrame.from_ndarray(values, format="gray")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def write_png_folder(study: PhantomStudy, folder: Path) -> None:
    """Write one 8-bit PNG per frame, without timing or spacing."""
    folder.mkdir(parents=True)
    for index, values in enumerate(to_8_bit(study)):
        Image.fromarray(values).save(folder / f"frame_{index:04d}.png", compress_level=1)


def to_8_bit(study: PhantomStudy) -> np.ndarray:
    """Display gray as ``(T, H, W)`` uint8."""
    return np.rint(study.frames[:, 0] * 255.0).astype(np.uint8)


def write_masks(study: PhantomStudy, path: Path) -> None:
    """Write the masks as one NIfTI ``(X, Y, 1, T, S)`` uint8, with spacing in millimeters and frame time in seconds."""
    volume = np.asfortranarray(study.masks.transpose(3, 2, 0, 1)[:, :, None])
    rows, columns = study.pixel_spacing_mm
    interval = study.frame_times_ms[1] / 1000.0 if len(study.masks) > 1 else 1.0
    image = nib.Nifti1Image(volume, np.diag([columns, rows, 1.0, 1.0]), dtype=np.uint8)
    image.header.set_zooms((columns, rows, 1.0, interval, 1.0))
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"SYNTHETIC phantom masks"
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def write_truth(study: PhantomStudy, folder: Path) -> None:
    """Write the true kinematics and the description as JSON."""
    study.kinematics.save(folder / "kinematics.json")
    (folder / "description.json").write_text(json.dumps(study.description, indent=1), encoding="utf-8")
