"""Films of any length: the same results as from arrays, flat memory, and notes where an output cannot hold one."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import av
import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from torch import nn

from bundle.data.readers import read_clip
from bundle.inference import dicom_seg, writers
from bundle.inference.folder import study_key
from bundle.inference.parts.hold_together import HoldTogether
from bundle.inference.predictor import ClipInferer
from bundle.inference.run import StudyOptions, segment_studies
from bundle.inference.runtimes.enlarge import MaskEnlarger
from bundle.inference.study import SegmentedStudy
from bundle.inference.writers import WRITERS
from bundle.keys import FIELD_OF_VIEW
from bundle.phantom.study import generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from bundle.transforms.letterbox import LetterboxGeometry

SIZE = 64
MODEL = {"name": "twelve thresholds", "version": "1"}


class TwelveThresholds(nn.Module):
    """Structure k is what is brighter than k / 12: twelve overlapping masks."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = nn.Parameter((torch.arange(12) / 12).view(1, 12, 1, 1))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return 20 * (frames - self.limits)


class Coarse(TwelveThresholds):
    """The same on a grid of a quarter of the size, as a runtime gives it."""

    def coarse(self, frames: torch.Tensor) -> torch.Tensor:
        return self(torch.nn.functional.avg_pool2d(frames, 4))


@pytest.fixture(scope="module")
def cine(tmp_path_factory) -> Path:
    """A synthetic RF cine of 11 frames."""
    path = tmp_path_factory.mktemp("cine") / "cine.dcm"
    write_dicom(generate_study(seed=4, size=SIZE, num_frames=11), path, "JANE")
    return path


def write_film(path: Path, num_frames: int, size: int = SIZE) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.height = stream.width = size
        stream.pix_fmt = "yuvj420p"
        for index in range(num_frames):
            values = np.full((size, size), 30, np.uint8)
            values[4 + index % 20 : 40, 10:50] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray")))
        container.mux(stream.encode(None))
    return path


def pictures_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def contents_of(path: Path) -> list:
    """Values of a DICOM file but for UIDs and dates, which are new each time."""
    return [
        element.value for element in pydicom.dcmread(path).iterall() if element.VR not in ("UI", "DA", "TM", "DT", "SQ")
    ]


def segment(source: Path, output_dir: Path, network: nn.Module | None = None, outputs=tuple(WRITERS), **options):
    network, inferer = network or TwelveThresholds(), ClipInferer(SIZE, 4, progress=False)
    options = StudyOptions(chunk_frames=4, **options)
    return segment_studies(source, output_dir, network, inferer, STRUCTURES, outputs, MODEL, options)


def test_every_output_is_the_one_made_from_arrays(tmp_path, cine):
    results = segment(cine, tmp_path / "streamed")
    folder, expected = tmp_path / "streamed" / study_key(cine), tmp_path / "arrays"
    expected.mkdir()
    clip = read_clip(cine)
    masks = ClipInferer(SIZE, 4, progress=False)(torch.from_numpy(clip.frames), TwelveThresholds()).numpy()
    masks = HoldTogether(STRUCTURES)(masks)
    visible = clip.frames.max(axis=(0, 1))
    study = SegmentedStudy(masks, clip, tuple(STRUCTURES), MODEL, study_key(cine), brightest=visible)
    for write in WRITERS.values():
        write(study, expected)
    files = sorted(path.relative_to(expected) for path in expected.rglob("*") if path.is_file())
    assert len(files) > 11 * 12
    for name in files:
        if name.suffix == ".dcm" and name.name != "masks.dcm":
            assert contents_of(folder / name) == contents_of(expected / name), name
        elif name.name == "masks.dcm":  # UIDs are new each time
            one, other = (hd.seg.segread(base / name).pixel_array for base in (folder, expected))
            np.testing.assert_array_equal(one, other)
        elif name.suffix == ".mp4":  # the encoder's threads may pack the same pictures in other bytes
            np.testing.assert_array_equal(*(pictures_of(base / name) for base in (folder, expected)))
        else:
            assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    assert results.studies[0].frames == 11


@pytest.mark.parametrize("holds", [True, False])
def test_a_network_with_coarse_logits_gives_masks_of_the_films_size(tmp_path, cine, holds):
    segment(cine, tmp_path, Coarse(), outputs=["nifti"], holds_together=holds)
    voxels = np.asanyarray(nib.load(tmp_path / study_key(cine) / "masks.nii.gz").dataobj)[:, :, 0].transpose(2, 3, 1, 0)
    frames = torch.from_numpy(read_clip(cine).frames)
    enlarger = MaskEnlarger(LetterboxGeometry(SIZE, SIZE, SIZE), SIZE // 4)
    with torch.no_grad():
        expected = enlarger(Coarse().coarse(frames)).numpy()
    held = HoldTogether(STRUCTURES)(expected.copy())
    assert (held != expected).any()
    np.testing.assert_array_equal(voxels > 0, held if holds else expected)


def test_a_film_that_turns_out_damaged_at_its_end_is_refused_and_the_next_one_done(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    cut, whole = write_film(folder / "a.avi", 40), write_film(folder / "b.avi", 10)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    results = segment(folder, tmp_path / "out", outputs=["areas"], strict=True)
    assert [(study.source.name, study.status) for study in results.studies] == [("a.avi", "refused"), ("b.avi", "done")]
    assert "the header says 40 frames" in results.studies[0].reason
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.csv", study_key(whole)}
    rows = list(csv.DictReader((tmp_path / "out" / study_key(whole) / "areas.csv").read_text().splitlines()))
    assert len(rows) == 10


def test_what_cannot_hold_a_long_film_is_left_out_with_a_note(tmp_path, cine, monkeypatch):
    monkeypatch.setattr(writers, "MOST_NIFTI_FRAMES", 10)
    monkeypatch.setattr(writers, "MOST_REPORT_FRAMES", 9)
    monkeypatch.setattr(dicom_seg, "MOST_MASKS", 8 * 12)
    results = segment(cine, tmp_path, outputs=["nifti", "seg", "report", "areas"])
    assert results.studies[0].status == "done"
    assert results.studies[0].notes[-3:] == (
        "too long for NIfTI, 10 frames at most: cut the film",
        "too long for a DICOM SEG, 8 frames at most: cut the film",
        "too long for a report, 9 frames at most: cut the film",
    )
    assert sorted(path.name for path in (tmp_path / study_key(cine)).iterdir()) == ["areas.csv", "study.json"]
    assert "too long for a report" in (tmp_path / "results.csv").read_text()


MEMORY = """
import sys, threading
from pathlib import Path
import psutil, torch
from tests.inference.test_streaming import segment
torch.set_num_threads(1)
process, peak, is_done = psutil.Process(), [0], threading.Event()

def watch():
    while not is_done.wait(0.2):
        try:
            peak[0] = max(peak[0], sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
        except psutil.NoSuchProcess:
            pass

threading.Thread(target=watch).start()
for film in sys.argv[2:]:
    peak[0] = 0
    segment(Path(film), Path(sys.argv[1]), outputs=["areas", "measures", "nifti", "overlay"])
    print(peak[0] / 2**20)
is_done.set()
"""


def test_memory_does_not_grow_with_the_length_of_a_film(tmp_path):
    """Held in memory, the 140 frames more would be 62 MB of masks, and 21 MB of gray values."""
    films = [write_film(tmp_path / f"{number}.avi", number, size=192) for number in (10, 40, 180)]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY, str(tmp_path / "out"), *map(str, films)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"},
    )
    _, short, long = (float(line) for line in run.stdout.splitlines()[-3:])
    assert long - short < 24


@pytest.fixture
def small_picture(tmp_path) -> Path:
    """Pictures of a recording: 40 x 48 pixels of it X-ray, the rest black."""
    folder = tmp_path / "recording"
    folder.mkdir()
    for index in range(6):
        values = np.zeros((96, 128), np.uint8)
        values[20:60, 70:118] = np.linspace(60, 250, 48) - 5 * index
        Image.fromarray(values).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize("finds", [True, False])
def test_the_network_looks_at_the_picture_in_a_black_recording(small_picture, tmp_path, finds):
    segment(small_picture, tmp_path / "out", outputs=["nifti"], finds_field_of_view=finds)
    folder = tmp_path / "out" / study_key(small_picture)
    written = np.asanyarray(nib.load(folder / "masks.nii.gz").dataobj)[:, :, 0].transpose(2, 3, 1, 0) > 0
    clip = torch.from_numpy(read_clip(small_picture).frames)
    meta = {FIELD_OF_VIEW: (19, 61, 69, 119) if finds else None}
    expected = ClipInferer(SIZE, 4, progress=False)(MetaTensor(clip, meta=meta), TwelveThresholds())
    assert np.array_equal(written, HoldTogether(STRUCTURES)(expected.numpy()))
    assert written[:, 5].any()
    assert written[:, 0, :19].any() == (not finds)  # black is above structure 0's limit of 0, if it is looked at
