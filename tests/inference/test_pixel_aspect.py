"""Pixels that are not square, from a file to its results: as if they were square, and on the file's own grid."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from bundle.data.clip import Clip, FrameOrigin
from bundle.data.readers import read_clip
from bundle.inference.folder import study_key
from bundle.inference.predictor import ClipInferer
from bundle.inference.run import StudyOptions, segment_studies
from bundle.inference.study import SegmentedStudy
from bundle.inference.writers import WRITERS
from bundle.phantom.study import PhantomStudy, generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES

SIZE = 192
SHAPES = {3 / 4: (192, 144), 8 / 9: (189, 168), 4 / 3: (144, 192)}
"""Pixel aspect -> rows and columns of what is 192 x 192 (or 189 x 189) with square pixels."""

LENGTHS = [f"hyoid_{which}_{axis}" for which in ("rest", "peak", "excursion") for axis in ("x", "y", "xy")]


class DarkDisks(nn.Module):
    """Pixels in the middle of a dark disk of radius 8: the shape of what is seen counts, as for a trained network."""

    def __init__(self) -> None:
        super().__init__()
        y, x = torch.meshgrid(torch.arange(-8, 9), torch.arange(-8, 9), indexing="ij")
        disk = (x**2 + y**2 <= 64).float()
        self.disk = nn.Parameter((disk / disk.sum())[None, None])

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        dark = (frames < 0.35).float()
        return 100 * (F.conv2d(dark, self.disk, padding=8) - 0.95)


def squeeze(pictures: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pictures or masks ``(T, C, H, W)`` with other pixels: averages, for masks what covers half of a pixel."""
    values = torch.as_tensor(np.asarray(pictures, np.float32))
    averaged = F.interpolate(values, size=shape, mode="bilinear", antialias=True).numpy()
    return averaged >= 0.5 if pictures.dtype == bool else averaged


def squared(masks: np.ndarray, pixel_aspect: float) -> np.ndarray:
    """Masks with rows or columns repeated until pixels are square."""
    axis, factor = (-2, pixel_aspect) if pixel_aspect > 1 else (-1, 1 / pixel_aspect)
    length = round(masks.shape[axis] * factor)
    return np.take(masks, ((np.arange(length) + 0.5) / factor).astype(int), axis=axis)


def overlap(masks: np.ndarray, others: np.ndarray) -> float:
    return float((masks & others).sum() / (masks | others).sum())


def make_clip(frames: np.ndarray, **attributes) -> Clip:
    origin = tuple(FrameOrigin(Path("cine.avi"), index) for index in range(len(frames)))
    attributes = {"frame_times_ms": None, "pixel_spacing_mm": None, "spacing_source": "none", **attributes}
    return Clip(stored=frames, origin=origin, **attributes)


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return generate_study(seed=2, size=SIZE, num_frames=4)


# What a network sees


@pytest.mark.parametrize(("aspect", "shape"), SHAPES.items())
def test_oblong_pixels_give_the_masks_of_square_ones(study, aspect, shape):
    side = max(shape)
    frames, network, inferer = study.frames[..., :side, :side], DarkDisks(), ClipInferer(256, progress=False)
    square = inferer(torch.from_numpy(frames), network).numpy()
    squeezed = torch.from_numpy(squeeze(frames, shape))
    told, not_told = (
        squared(inferer(squeezed, network, pixel_aspect=value).numpy(), aspect) for value in (aspect, 1.0)
    )
    assert told.shape == square.shape
    assert overlap(told, square) > 0.97
    assert overlap(not_told, square) < 0.93
    assert square.any()


# From a file to its results


def write_cine(study: PhantomStudy, path: Path, shape: tuple[int, int], **attributes) -> Path:
    """A cine without shutter whose header states the attributes."""
    stored = squeeze(study.stored[:, None].astype(np.float32), shape)[:, 0].round().astype(np.uint16)
    path.parent.mkdir(parents=True)
    write_dicom(replace(study, stored=stored), path, "JANE")
    dataset = pydicom.dcmread(path)
    for element in [element for element in dataset if element.keyword.startswith(("Shutter", "CenterOf", "RadiusOf"))]:
        del dataset[element.tag]
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelSpacingCalibrationType"):
        dataset.pop(keyword, None)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def segment(
    path: Path, output_dir: Path, outputs: Sequence[str] = tuple(WRITERS), **options
) -> tuple[np.ndarray, Path]:
    """Masks ``(T, S, H, W)`` and the folder of results."""
    inferer = ClipInferer(256, progress=False)
    results = segment_studies(
        path, output_dir, DarkDisks(), inferer, ("dark",), outputs, options=StudyOptions(**options)
    )
    folder = output_dir / study_key(path)
    assert results.exit_status == 0
    return np.asanyarray(nib.load(folder / "masks.nii.gz").dataobj)[:, :, 0].transpose(2, 3, 1, 0) > 0, folder


@pytest.mark.parametrize(
    ("attributes", "options"),
    [({"PixelSpacing": ["0.3", "0.4"]}, {}), ({"PixelAspectRatio": ["3", "4"]}, {}), ({}, {"pixel_aspect": 0.75})],
    ids=["spacing", "ratio", "the user's word"],
)
def test_the_header_or_the_user_says_the_shape_and_masks_stay_on_the_files_grid(tmp_path, study, attributes, options):
    expected, _ = segment(write_cine(study, tmp_path / "a/1.dcm", (SIZE, SIZE)), tmp_path / "out", outputs=["nifti"])
    path = write_cine(study, tmp_path / "b/1.dcm", (192, 144), **attributes)
    masks, folder = segment(path, tmp_path / "out", outputs=["nifti"], **options)
    assert masks.shape == (4, 1, 192, 144)
    assert overlap(squared(masks, 0.75), expected) > 0.97
    content = json.loads((folder / "masks.json").read_text())
    assert content["pixel_aspect"] == 0.75
    assert content["frame_times_source"] == read_clip(path).frame_times_source != "none"
    zooms = nib.load(folder / "masks.nii.gz").header.get_zooms()
    assert zooms[1] / zooms[0] == pytest.approx(0.75)  # height to width
    if options:
        warning = "by the user's word pixels are 0.75 times as high as wide"
        assert warning in (tmp_path / "out/results.csv").read_text()


def test_a_spacing_goes_before_the_users_word(tmp_path, study):
    path = write_cine(study, tmp_path / "in/1.dcm", (192, 144), PixelSpacing=["0.3", "0.4"])
    _, folder = segment(path, tmp_path / "out", outputs=["nifti"], pixel_aspect=1.2)
    assert json.loads((folder / "masks.json").read_text())["pixel_aspect"] == 0.75


def test_every_result_shows_the_true_shape(tmp_path, study):
    path = write_cine(study, tmp_path / "in/1.dcm", (192, 144), PixelAspectRatio=["3", "4"])
    _, folder = segment(path, tmp_path / "out")
    with Image.open(folder / "masks/dark/frame_00001.png") as picture:
        assert picture.size == (144, 192)
        assert picture.info["aspect"] == (3, 4)
    spacing = pydicom.dcmread(folder / "masks.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(value) for value in spacing.PixelSpacing] == [0.75, 1.0]
    with av.open(str(folder / "overlay.mp4")) as film:
        assert film.streams.video[0].sample_aspect_ratio == 1
    data = json.loads(re.search(r'id="study">(.*?)</script>', (folder / "report.html").read_text()).group(1))
    assert data["width"] == data["height"]
    assert json.loads((folder / "measures.json").read_text())["pixel_aspect"] == 0.75


# Measures


@pytest.fixture(scope="module")
def swallow() -> PhantomStudy:
    return generate_study(seed=2, size=384, num_frames=30)


def measured(masks: np.ndarray, swallow: PhantomStudy, pixel_aspect: float):
    frames = np.zeros((len(masks), 1, *masks.shape[2:]), np.float32)
    clip = make_clip(frames, frame_times_ms=swallow.frame_times_ms, pixel_aspect=pixel_aspect)
    return SegmentedStudy(masks, clip, STRUCTURES).measures.swallows[0]


@pytest.mark.parametrize("shape", [(384, 288), (288, 384)])
def test_measures_of_oblong_pixels_are_those_of_square_ones_within_a_pixel(swallow, shape):
    masks = swallow.masks.astype(bool)
    expected = measured(masks, swallow, 1.0)
    squeezed = squeeze(masks, shape)
    found = measured(squeezed, swallow, shape[1] / shape[0])
    pixel = 100 / expected.measures["c2_c4_length"].value * max(shape) / min(shape)  # in %C2-4, of the larger ones
    for name in (*LENGTHS, "ues_maximal_width"):
        assert found.measures[name].value == pytest.approx(expected.measures[name].value, abs=pixel)
    area = expected.measures["pharyngeal_area_rest"].value
    assert found.measures["pharyngeal_area_rest"].value == pytest.approx(area, rel=0.02)
    assert found.events == expected.events
    distorted = measured(squeezed, swallow, 1.0).measures
    assert abs(distorted["hyoid_rest_x"].value / expected.measures["hyoid_rest_x"].value - 1) > 0.2
