"""Draw `report-desktop.png` and `report-phone.png`: the report of a synthetic study with its true masks.

Run from the repository's root, with Chromium, its driver and selenium: python docs/figures/report.py. Prints the
report's size, the time it took, and how fast its frames are drawn.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

FIGURES = Path(__file__).resolve().parent
sys.path.insert(0, str(FIGURES.parents[1]))

from selenium import webdriver  # noqa: E402 - the repository's root comes first

from bundle.data.clip import Clip, FrameOrigin  # noqa: E402
from bundle.metrics.kinematics import measure_film  # noqa: E402
from bundle.phantom import generate_study  # noqa: E402
from bundle.report import write_report  # noqa: E402
from bundle.structures import STRUCTURES  # noqa: E402

SEED, SIZE, NUM_FRAMES, FRAME = 5, 512, 100, 47
DESKTOP, PHONE = (1280, 1800, 1), (360, 800, 2)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")

SHOW = """
const scrubber = document.getElementById("scrubber"), done = arguments[arguments.length - 1];
const show = (frame) => new Promise((resolve) => {
  scrubber.value = frame;
  scrubber.dispatchEvent(new Event("input"));
  const look = () => document.getElementById("moment").textContent.startsWith(`frame ${frame + 1} of`)
    ? resolve() : setTimeout(look);
  look();
});
"""
SHOW_ONE = SHOW + "show(arguments[0]).then(() => setTimeout(done, 500));"
SHOW_ALL = (
    SHOW
    + """
(async () => {
  const start = performance.now();
  for (let frame = 0; frame <= Number(scrubber.max); frame += 1) await show(frame);
  done(performance.now() - start);
})();
"""
)


def report(folder: Path) -> Path:
    """Make the study and its report."""
    study = generate_study(SEED, size=SIZE, num_frames=NUM_FRAMES)
    origin = tuple(FrameOrigin(Path("phantom"), index) for index in range(NUM_FRAMES))
    clip = Clip(
        study.frames,
        study.frame_times_ms,
        study.pixel_spacing_mm,
        "the phantom's own",
        origin,
        ("synthetic phantom: drawn by a program, no patient",),
    )
    masks = study.masks > 0
    measures = measure_film(masks, clip.frame_times_ms)
    model = {"name": "none: true masks of the phantom", "version": "–"}
    start = time.perf_counter()
    path = write_report(folder / "report.html", masks, clip, STRUCTURES, measures, model, "5yn7he71c000")
    print(f"{NUM_FRAMES} frames of {SIZE} x {SIZE}: {path.stat().st_size / 1e6:.1f} MB", end=", ")
    print(f"written in {time.perf_counter() - start:.1f} s")
    return path


def open_browser(profile: str) -> webdriver.Chrome:
    """Headless Chromium that asks nobody for anything."""
    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for option in (*OPTIONS, *QUIET, f"--user-data-dir={profile}"):
        options.add_argument(option)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


def main() -> None:
    """Report, speed, two pictures."""
    with tempfile.TemporaryDirectory() as folder:
        path = report(Path(folder))
        browser = open_browser(f"{folder}/profile")
        try:
            for name, (width, height, ratio) in {"desktop": DESKTOP, "phone": PHONE}.items():
                metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": width < 500}
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
                browser.get(path.as_uri())
                if name == "desktop":
                    times = [browser.execute_async_script(SHOW_ALL) for _ in range(2)]
                    print(
                        "frames drawn per second, first and second time:",
                        [f"{1e3 * NUM_FRAMES / t:.0f}" for t in times],
                    )
                browser.execute_async_script(SHOW_ONE, FRAME)
                browser.save_screenshot(str(FIGURES / f"report-{name}.png"))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
