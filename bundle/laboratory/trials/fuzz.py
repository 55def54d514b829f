"""Read thousands of damaged files and report what broke a rule: see ``RULES``."""

import gzip
import math
import re
import shutil
import statistics
import struct
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
import psutil
import pydicom
from tqdm import tqdm

from bundle.data.clip import Clip, ClipShape, UnreadableStudyError
from bundle.data.readers import probe_clip, read_clip
from bundle.laboratory.trials.damage import PATIENT_NAME, damage, write_seeds

TOLD = re.compile(r"header says|cut off|damaged|left out|dropped|first is read")
TURNED = re.compile(r"turned|mirrored")


def contradiction(path: Path, clip: Clip) -> str:
    """How a clip differs from its header without a warning, in words; empty if it does not."""
    got = clip.shape
    try:
        stated = [("probe_clip", probe_clip(path))]
    except UnreadableStudyError as error:
        return f"read, but its header is refused: {error.reason}"
    is_turned = any(TURNED.search(note) for note in clip.warnings)
    by_hand = shape_by_hand(path)
    if by_hand is not None and not is_turned:
        stated.append(("the header", by_hand))
    is_told = any(TOLD.search(note) for note in clip.warnings)
    for source, shape in stated:
        if (shape.rows, shape.columns) != (got.rows, got.columns):
            return f"{source} says {shape}, read {got}"
        if shape.num_frames != got.num_frames and not is_told:
            return f"{source} says {shape}, read {got} without a warning"
    return ""


def shape_by_hand(path: Path) -> ClipShape | None:
    """Size by the header of a DICOM, PNG or NIfTI file; None for others, whose headers only FFmpeg or Pillow parse."""
    name = path.name.lower()
    if name.endswith(".dcm"):
        return _dicom_shape(path)
    if name.endswith(".png"):
        columns, rows = struct.unpack(">II", path.read_bytes()[16:24])  # PNG 11.2.2: IHDR
        return ClipShape(1, rows, columns)
    if name.endswith((".nii", ".nii.gz")):
        return _nifti_shape(path)
    return None


def _dicom_shape(path: Path) -> ClipShape:
    tags = ["NumberOfFrames", "Rows", "Columns"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damage, which is meant
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)
        return ClipShape(int(header.get("NumberOfFrames") or 1), int(header.Rows), int(header.Columns))


def _nifti_shape(path: Path) -> ClipShape | None:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(348)
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", head)[0] == 348), None)
    if order is None:  # NIfTI-2
        return None
    num_axes, *sizes = struct.unpack_from(f"{order}8h", head, 40)
    columns, rows, *others = sizes[:num_axes]
    num_frames = 1
    for size in others:
        num_frames *= size
    return ClipShape(num_frames, rows, columns)


RULES = (
    "every file is done or refused by UnreadableStudyError, within the time limit",
    "reading stays within the memory limit",
    "a message is one line, names the file and no patient",
    "a file that is done has the frames and the size that its header says, or a warning says otherwise",
    "an intact file is done",
)
WIDTHS = (7, 7, 9, 8, 10, 11, 9)  # of the table's columns
SAMPLE_SECONDS = 0.05
UNNAMED = re.compile(r"0x[0-9a-f]+|[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class ReadingLimits:
    """What reading one file may take."""

    seconds: float = 90.0  # Wall time
    # Resident memory of all processes that read, the calling one left out if there are others
    num_megabytes: float = 4096.0


@dataclass(frozen=True)
class ReadOutcome:
    """What became of one file."""

    name: str  # File name: number, kind
    kind: str  # Kind of the seed
    verdict: str  # "done", "refused" or "broken"
    reason: str  # Why it was refused, or which rule it broke; empty if it was done
    seconds: float  # Wall time of reading
    num_megabytes: float  # Peak of resident memory while it was read


@dataclass(frozen=True)
class FuzzReport:
    """Outcomes of a run, and the kinds of files that could not be written here, with the reason."""

    outcomes: tuple[ReadOutcome, ...]
    missing: dict[str, str]

    @property
    def broken(self) -> list[ReadOutcome]:
        return [outcome for outcome in self.outcomes if outcome.verdict == "broken"]

    def in_words(self, num_reasons: int = 15) -> str:
        """A table with a line for each kind, the most frequent reasons, and what broke a rule."""
        columns = ("files", "done", "refused", "broken", "median s", "slowest s", "peak MB")
        head = f"{'kind':<22}" + "".join(f"{column:>{width}}" for column, width in zip(columns, WIDTHS, strict=True))
        kinds = list(dict.fromkeys(outcome.kind for outcome in self.outcomes))
        lines = [head, *(_line(kind, [o for o in self.outcomes if o.kind == kind]) for kind in kinds)]
        lines += [_line("all", self.outcomes), "", "most frequent reasons:"]
        reasons = Counter(UNNAMED.sub("#", o.reason) for o in self.outcomes if o.verdict == "refused")
        lines += [f"{count:>7}  {reason}" for reason, count in reasons.most_common(num_reasons)]
        lines += [f"not written here: {kind} ({reason})" for kind, reason in self.missing.items()]
        lines += ["", f"{len(self.broken)} files broke a rule"]
        lines += [f"{outcome.name}: {outcome.reason}" for outcome in self.broken]
        return "\n".join(lines)


def fuzz(
    count: int,
    seed: int = 0,
    keep: Path | None = None,
    limits: ReadingLimits | None = None,
    kinds: Sequence[str] | None = None,
) -> FuzzReport:
    """Damage files of all kinds, or of some, in turn and read each; a file depends on the seed and its number only.

    Raises:
        ValueError: If a kind is not known.
    """
    limits = limits or ReadingLimits()
    outcomes = []
    with TemporaryDirectory() as folder:
        (Path(folder) / "seeds").mkdir()
        seeds, missing = write_seeds(Path(folder) / "seeds", kinds)
        for kind, path in seeds.items():
            outcomes.append(_read(path, kind, limits, is_intact=True))
            _keep(path, outcomes[-1], keep)
        order = list(seeds)
        for number in tqdm(range(count), desc="damaged files", disable=None):
            kind = order[number % len(order)]
            content, how = damage(seeds[kind].read_bytes(), np.random.default_rng([seed, number]))
            path = Path(folder) / f"{number:05d}_{seeds[kind].name}"
            path.write_bytes(content)
            outcomes.append(_read(path, kind, limits, how=how))
            _keep(path, outcomes[-1], keep)
            path.unlink()
    return FuzzReport(tuple(outcomes), missing)


def _read(path: Path, kind: str, limits: ReadingLimits, is_intact: bool = False, how: str = "intact") -> ReadOutcome:
    with Watch() as watch:
        verdict, reason = _verdict(path)
    if verdict == "refused" and is_intact:
        verdict, reason = "broken", f"an intact file is refused: {reason}"
    if verdict != "broken" and watch.seconds > limits.seconds:
        verdict, reason = "broken", f"took {watch.seconds:.0f} s, the limit is {limits.seconds:g} s"
    if verdict != "broken" and watch.num_megabytes > limits.num_megabytes:
        verdict, reason = "broken", f"took {watch.num_megabytes:.0f} MB, the limit is {limits.num_megabytes:g} MB"
    if verdict == "broken":
        reason = f"{reason} [{how}]"
    return ReadOutcome(path.name, kind, verdict, reason, watch.seconds, watch.num_megabytes)


def _verdict(path: Path) -> tuple[str, str]:
    try:
        clip = read_clip(path)
    except UnreadableStudyError as error:
        words = str(error)
        is_proper = words.startswith(f"{path}: ") and "\n" not in words and PATIENT_NAME.split("^")[0] not in words
        return ("refused", error.reason) if is_proper else ("broken", f"improper message: {words!r}")
    except Exception:
        return "broken", f"another error:\n{traceback.format_exc()}"
    difference = contradiction(path, clip)
    return ("broken", difference) if difference else ("done", "")


def _keep(path: Path, outcome: ReadOutcome, folder: Path | None) -> None:
    if folder is None or outcome.verdict != "broken":
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder / path.name)
    (folder / f"{path.name}.txt").write_text(outcome.reason + "\n")


def _line(kind: str, outcomes: Sequence[ReadOutcome]) -> str:
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    seconds = [outcome.seconds for outcome in outcomes]
    peak = max((outcome.num_megabytes for outcome in outcomes), default=math.nan)
    counts = [len(outcomes), verdicts["done"], verdicts["refused"], verdicts["broken"]]
    cells = [*map(str, counts), f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}", f"{peak:.0f}"]
    return f"{kind:<22}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


class Watch:
    """Wall time and peak of resident memory of the processes that read, while it is open."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.num_megabytes = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        own = psutil.Process()
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(SAMPLE_SECONDS)  # once more after the end: short calls have one sample
            children = own.children(recursive=True)
            resident = [_resident_bytes(process) for process in children] or [own.memory_info().rss]
            self.num_megabytes = max(self.num_megabytes, sum(resident) / 2**20)


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0
