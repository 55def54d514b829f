"""What can be written of a study, by the names of the config's ``outputs``.

A writer puts its files into a study's folder and returns why it cannot for such a source, or nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal.igzip import IGzipFile
from tqdm import tqdm

from bundle.atomic import atomic_folder, atomic_path, write_csv, write_json
from bundle.inference.dicom_capture import write_dicom_capture
from bundle.inference.dicom_seg import TooLongForSegError, write_dicom_seg
from bundle.inference.dicom_source import NoDicomSourceError
from bundle.inference.dicom_sr import write_dicom_sr
from bundle.inference.overlay import write_overlay_png, write_overlay_video
from bundle.inference.png import PngCanvas
from bundle.inference.study import INTENDED_USE, SegmentedStudy
from bundle.metrics.cropped import CroppedMask, cropped
from bundle.metrics.kinematics import SwallowMeasures
from bundle.metrics.reliability import MEASURE_COLUMNS, human_reliability
from bundle.report.write import write_report

MOST_NIFTI_FRAMES = 32767
"""NIfTI-1 keeps the length of an axis in a signed number of 16 bits."""

MOST_REPORT_FRAMES = 5400
"""Three minutes at 30 frames/s. All pictures of a report share 80 million pixels: more would be too small to see."""

MOST_CAPTURE_FRAMES = 1800
"""A minute at 30 frames/s: the file is put together in memory, some 100 kB a frame."""

_NO_EXTENSION = bytes(4)  # of a NIfTI file


def write_nifti(study: SegmentedStudy, folder: Path) -> str:
    """Write ``masks.nii.gz``, uint8 ``(X, Y, 1, T, S)``: X is the column, Y the row from the top; ``masks.json``.

    Pixel size is the clip's in mm and the time step its mean interval in s; where the clip has none, a pixel
    is 1 wide and the unit is "unknown". Masks are taken one at a time.
    """
    if study.clip.num_frames > MOST_NIFTI_FRAMES:
        return _too_long("NIfTI", MOST_NIFTI_FRAMES)
    with (
        atomic_path(folder / "masks.nii.gz") as temporary,
        temporary.open("wb") as raw,
        IGzipFile("", "wb", 1, raw, mtime=0) as file,  # as nibabel does: neither a name nor a time
    ):
        file.write(_nifti_header(study).binaryblock + _NO_EXTENSION)
        for structure in range(len(study.structures)):
            for frame in range(study.clip.num_frames):
                file.write(np.ascontiguousarray(study.masks[frame, structure], np.uint8).data)
    axes = {"axes": "(X, Y, 1, T, S): column, row from the top, -, frame, structure"}
    write_json(folder / "masks.json", {**study.describe(), **axes})
    return ""


def write_pngs(study: SegmentedStudy, folder: Path) -> str:
    """Write ``masks/<structure>/frame_00001.png`` ..., 0 and 255: ImageJ opens a folder as a stack.

    Pictures are on the clip's grid. Where its pixels are not square, a pHYs chunk states their shape.

    Raises:
        ValueError: If the name of a structure cannot be a folder's.
    """
    unusable = [name for name in study.structures if Path(name).name != name or name in ("", ".", "..")]
    if unusable:
        raise ValueError(f"structures must be names that a folder can have, got {unusable}")
    shape = study.clip.shape
    canvas = PngCanvas(shape.rows, shape.columns, study.clip.pixel_aspect)
    empty = canvas.encode(CroppedMask(0, 0, np.zeros((0, 0), bool)))
    with atomic_folder(folder / "masks") as temporary:
        for name in study.structures:
            (temporary / name).mkdir()
        for index in tqdm(range(shape.num_frames), desc="PNG", unit="frame", disable=not study.progress, leave=False):
            for name, part in zip(study.structures, cropped(study.masks, index), strict=True):
                data = canvas.encode(part) if part.pixels.any() else empty
                (temporary / name / f"frame_{index + 1:05d}.png").write_bytes(data)
    return ""


def write_overlay(study: SegmentedStudy, folder: Path) -> str:
    """Write ``overlay.png``, one frame, and of a film ``overlay.mp4`` with ``overlay.json``."""
    write_overlay_png(study, folder / "overlay.png")
    if study.clip.num_frames > 1:
        write_overlay_video(study, folder / "overlay.mp4")
    return ""


def write_areas(study: SegmentedStudy, folder: Path) -> str:
    """Write ``areas.csv``: every structure in every frame, in pixels; ``time_ms`` is empty where there are no times."""
    frames = (cropped(study.masks, index) for index in range(study.clip.num_frames))
    areas = np.array([[np.count_nonzero(part.pixels) for part in frame] for frame in frames])  # (T, S)
    times = study.clip.frame_times_ms
    columns = [f"{name}_px" for name in study.structures]
    rows = (
        {"frame": index + 1, "time_ms": None if times is None else times[index].item()}
        | dict(zip(columns, area.tolist(), strict=True))
        for index, area in enumerate(areas)
    )
    write_csv(folder / "areas.csv", ["frame", "time_ms", *columns], rows)
    return ""


def write_measures(study: SegmentedStudy, folder: Path) -> str:
    """Write ``measures.csv``, a row per swallow and measure, whose ``reason`` says what is missing; ``measures.json``.

    ``uncertainty`` and ``human_error`` are what 95% of errors are below, of the model and of people, where known.
    """
    film = study.measures
    write_csv(folder / "measures.csv", MEASURE_COLUMNS, study.measure_rows())
    names = film.swallows[0].measures
    content = {
        "content": "measures from automatic masks, swallow by swallow; frames count from 1",
        "intended_use": INTENDED_USE,
        "model": dict(study.model),
        "pixel_aspect": round(study.clip.pixel_aspect, 6),
        "pixels": "the width of one is the unit; its height is pixel_aspect times that",
        "uncertainty": study.errors.words,
        "human_error": {name: str(human_reliability(name)) for name in names},
        "no_swallow": film.refusal or film.no_swallow,
        "swallows": [_describe_swallow(number, swallow) for number, swallow in film.numbered()],
        "warnings": list(film.warnings),
    }
    write_json(folder / "measures.json", content)
    return _refused_by_masks(study) or (film.no_swallow and f"no swallow is measured: {film.no_swallow}")


def _describe_swallow(number: int | None, swallow: SwallowMeasures) -> dict[str, Any]:
    return {
        "swallow": number,
        "first_frame": swallow.frames[0] + 1,
        "last_frame": swallow.frames[1],
        "events": {name: frame + 1 for name, frame in swallow.events.items()},
        "airway_frames": [frame + 1 for frame in swallow.airway_frames],
        "warnings": list(swallow.warnings),
    }


def write_seg(study: SegmentedStudy, folder: Path) -> str:
    """Write ``masks.dcm``."""
    try:
        write_dicom_seg(study, folder / "masks.dcm")
    except (NoDicomSourceError, TooLongForSegError) as error:
        return str(error)
    return ""


def write_sr(study: SegmentedStudy, folder: Path) -> str:
    """Write ``measures.dcm``."""
    try:
        write_dicom_sr(study, folder / "measures.dcm")
    except NoDicomSourceError as error:
        return str(error)
    return _refused_by_masks(study)


def write_capture(study: SegmentedStudy, folder: Path) -> str:
    """Write ``overlay.dcm``."""
    if study.clip.num_frames > MOST_CAPTURE_FRAMES:
        return _too_long("a DICOM capture", MOST_CAPTURE_FRAMES)
    try:
        write_dicom_capture(study, folder / "overlay.dcm")
    except NoDicomSourceError as error:
        return str(error)
    return ""


def write_html(study: SegmentedStudy, folder: Path) -> str:
    """Write ``report.html``."""
    if study.clip.num_frames > MOST_REPORT_FRAMES:
        return _too_long("a report", MOST_REPORT_FRAMES)
    path = folder / "report.html"
    model = {**study.model, "errors": study.errors.words}
    write_report(path, study.masks, study.clip, study.structures, study.measures, model, study.key)
    return ""


WRITERS: dict[str, Callable[[SegmentedStudy, Path], str]] = {
    "nifti": write_nifti,
    "png": write_pngs,
    "overlay": write_overlay,
    "areas": write_areas,
    "measures": write_measures,
    "seg": write_seg,
    "sr": write_sr,
    "capture": write_capture,
    "report": write_html,
}

SHOWS_FRAMES = frozenset({"overlay", "report", "capture"})
"""Outputs that need the frames besides the masks."""

OF_REFUSED = frozenset({"measures", "report"})
"""Outputs that say why a study is refused; of such a study no others are written unless they are asked for."""


def _refused_by_masks(study: SegmentedStudy) -> str:
    """Why nothing is measured, where no input check has said it of the whole study."""
    return study.measures.refusal if study.verdict is None else ""


def _too_long(output: str, most_frames: int) -> str:
    return f"too long for {output}, {most_frames} frames at most: cut the film"


def _nifti_header(study: SegmentedStudy) -> nib.Nifti1Header:
    clip, interval = study.clip, study.interval_ms
    rows, columns = clip.pixel_spacing_mm or (clip.pixel_aspect, 1.0)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((clip.shape.columns, clip.shape.rows, 1, clip.num_frames, len(study.structures)))
    header.set_data_offset(len(header.binaryblock) + len(_NO_EXTENSION))
    header.set_slope_inter(1, 0)
    header.set_zooms((columns, rows, 1.0, 1.0 if interval is None else interval / 1000, 1.0))
    # x to the patient's left and y down, as 2-D viewers show an image without a stated orientation.
    header.set_sform(np.diag([-columns, -rows, 1.0, 1.0]), code="unknown")
    header.set_qform(np.diag([-columns, -rows, 1.0, 1.0]), code="unknown")
    header.set_xyzt_units("mm" if clip.pixel_spacing_mm else "unknown", "sec" if interval else "unknown")
    header["descrip"] = b"automatic masks, research use only"
    return header
