"""The same command again over a folder of studies that an earlier run has finished: time per study."""

import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, XRayRadiofluoroscopicImageStorage

from bundle.inference.folder import find_studies, study_key
from bundle.inference.results import DONE, StudyResult, StudyResults
from bundle.inference.study_dataset import StudyDataset
from bundle.laboratory.benchmarks.record import Row

COUNTS = (1_000, 10_000)
SETTINGS = {"checkpoint": "of the benchmark"}
OUTPUTS = ("areas.csv", "masks.json", "masks.nii.gz", "overlay.mp4", "overlay.png", "report.html")


def measure_finished() -> list[Row]:
    """Seconds from the folder to the table, for films and for DICOM cines, all in one folder."""
    layouts = {"films": _write_film, "DICOM cines": _write_cine}
    rows: list[Row] = []
    for layout, write in layouts.items():
        for count in COUNTS:
            with tempfile.TemporaryDirectory() as folder:
                write_finished(Path(folder), count, write)
                seconds = time_of_another_run(Path(folder))
            rows.append({"studies": layout, "number": count, "s": seconds, "ms per study": 1000 * seconds / count})
    return rows


def time_of_another_run(folder: Path) -> float:
    """Seconds of all that a run does with ``folder/in`` before and after the network, if ``folder/out`` has it all.

    Raises:
        RuntimeError: If a study would be done again.
    """
    start = time.perf_counter()
    found = find_studies(folder / "in", exclude=folder / "out")
    results = StudyResults(folder / "out", settings=SETTINGS, left_out=found.left_out)
    if list(StudyDataset(found.studies, results, progress=False)):
        raise RuntimeError("a study that an earlier run has finished is done again")
    results.format_table()
    return time.perf_counter() - start


def write_finished(folder: Path, count: int, write: Callable[[Path, int], Path]) -> None:
    """Studies in ``folder/in``, and in ``folder/out`` what a run leaves of them, with empty files for its outputs."""
    (folder / "in").mkdir()
    results = StudyResults(folder / "out", settings=SETTINGS)
    for index in range(count):
        source = write(folder / "in", index)
        result = StudyResult(source, study_key(source), DONE, frames=8, outputs=OUTPUTS)
        written = folder / "out" / result.key
        written.mkdir(parents=True)
        for name in OUTPUTS:
            (written / name).touch()
        results.write_record(written, result, {})


def _write_film(folder: Path, index: int) -> Path:
    path = folder / f"film{index}.avi"
    path.write_bytes(b"RIFF" + index.to_bytes(4, "little") + b"AVI " + bytes(4096))
    return path


def _write_cine(folder: Path, index: int) -> Path:
    """A short header and pixels, which a second run reads for the hash alone."""
    path = folder / f"IM{index}"
    path.write_bytes(_cine(f"1.2.826.0.1.{index}"))
    return path


def _cine(uid: str) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = XRayRadiofluoroscopicImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(uid)
    dataset.SeriesInstanceUID, dataset.NumberOfFrames = "1.2.826.0.1", 8
    dataset.Rows = dataset.Columns = 16
    dataset.add_new("PixelData", "OB", bytes(8 * 16 * 16))
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()
