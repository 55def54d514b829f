"""A synthetic study with true masks, its report, and a browser without network that opens it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bundle.data.clip import Clip, FrameOrigin
from bundle.metrics.kinematics import FilmMeasures, measure_film
from bundle.phantom import generate_study
from bundle.report import write_report
from bundle.structures import STRUCTURES

KEY = "0123456789ab"
MODEL = {"name": "true masks", "version": "1.2.3"}
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


@dataclass(frozen=True)
class Reported:
    """A study and the report of it."""

    clip: Clip
    masks: np.ndarray
    measures: FilmMeasures
    path: Path


def make_clip(frames: np.ndarray, **attributes) -> Clip:
    """A clip whose origin and name must not show in the report."""
    attributes = {
        "frame_times_ms": np.arange(len(frames)) * 40.0,
        "pixel_spacing_mm": (0.5, 0.5),
        "spacing_source": "calibrated PixelSpacing",
        **attributes,
    }
    origin = tuple(FrameOrigin(Path("JANE_DOE/cine.dcm"), index) for index in range(len(frames)))
    return Clip(stored=frames, origin=origin, name="JANE_DOE", **attributes)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """30 frames of 256 x 256 and their report."""
    phantom = generate_study(2, size=256, num_frames=30)
    clip = make_clip(
        phantom.frames,
        frame_times_ms=phantom.frame_times_ms,
        pixel_spacing_mm=phantom.pixel_spacing_mm,
        warnings=("synthetic phantom",),
    )
    masks = phantom.masks.astype(bool)
    measures = measure_film(masks, clip.frame_times_ms)
    path = tmp_path_factory.mktemp("report") / "report.html"
    return Reported(clip, masks, measures, write_report(path, masks, clip, STRUCTURES, measures, MODEL, KEY))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Headless Chromium; skips where it, its driver or selenium is not installed."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver (Debian's packages of these names)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    os.environ["SE_OFFLINE"] = "true"  # selenium must never fetch a driver
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()
