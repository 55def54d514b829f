"""Every benchmark of ``docs/benchmarks.md``: what it measures, and with which command."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bundle.export.deploy import Exporter
from bundle.export.model_card import load_segmenter
from bundle.inference.runtimes.load import load_runtime
from bundle.laboratory.benchmarks.clicks import measure_clicks
from bundle.laboratory.benchmarks.deployment import measure_deployment, measure_stages
from bundle.laboratory.benchmarks.end_to_end import measure_end_to_end
from bundle.laboratory.benchmarks.finished import measure_finished
from bundle.laboratory.benchmarks.neighbor import measure_neighbor
from bundle.laboratory.benchmarks.reading import measure_reading
from bundle.laboratory.benchmarks.record import Row, Section, load_record, measure_section, write_record
from bundle.laboratory.benchmarks.streaming import streaming_rows
from bundle.laboratory.benchmarks.training import TrainingSetting, measure_training
from bundle.laboratory.benchmarks.video import measure_video, shipped_tracker
from bundle.laboratory.trials.kill_trials import run_kill_trials, run_store_trials
from bundle.paths import ROOT
from bundle.phantom.study import Domain, generate_study

JSON_PATH = ROOT / "docs" / "benchmarks.json"
PAGE_PATH = ROOT / "docs" / "benchmarks.md"


def _phantom() -> list[Row]:
    generate_study(0, 64, 2)  # imports and caches
    rows: list[Row] = []
    for size in (256, 512):
        start = time.perf_counter()
        generate_study(0, size, 60)
        rows.append({"size": size, "frames/s": 60 / (time.perf_counter() - start)})
    return rows


def _folder() -> tempfile.TemporaryDirectory:
    """On the disk that trainings use."""
    (ROOT / "runs").mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(dir=ROOT / "runs")


def _named(row: Row) -> Row:
    return {name.replace("_", " "): value for name, value in row.items()}


def _kills() -> list[Row]:
    with _folder() as name:
        reports = {
            "the cache stage": run_store_trials(Path(name) / "store"),
            "both phases": run_kill_trials(Path(name) / "training"),
        }
    columns = {"runs": "num_trials", "killed": "num_killed", "equal": "num_equal"}
    columns |= {"loss differs by": "largest_loss_difference"}
    return [{"of": of} | {shown: report[key] for shown, key in columns.items()} for of, report in reports.items()]


def _training_step() -> list[Row]:
    report = measure_training(TrainingSetting())
    columns = {"name": "option", "images_per_second": "images/s", "ratio": "ratio", "lowest_ratio": "lowest"}
    columns |= {"highest_ratio": "highest", "peak_memory_mb": "peak memory, MiB"}
    return [{shown: option[key] for key, shown in columns.items()} for option in report["options"]]


def _streaming() -> list[Row]:
    checkpoint = ROOT / "models" / "model.pt"
    segmenter = load_segmenter(checkpoint)
    curve = ROOT / "docs" / "figures" / "memory.json"
    with _folder() as name:
        network = load_runtime(Exporter(segmenter, checkpoint))
        return streaming_rows(network, segmenter.image_size, name, curve_path=curve)


def _clicks() -> list[Row]:
    return [_named(asdict(score)) for score in measure_clicks(load_segmenter(ROOT / "models" / "model.pt"))]


def _video() -> list[Row]:
    segmenter, tracker = shipped_tracker(ROOT / "models")
    domains: tuple[Domain, ...] = ("standard", "hard")
    return [
        {"patients": domain, **_named(asdict(score))}
        for domain in domains
        for score in measure_video(segmenter, tracker, num_patients=2, num_frames=20, domain=domain)
    ]


SECTIONS = {
    "phantom": Section(
        title="Phantom",
        text="Synthetic frames made in one process.",
        measure=_phantom,
    ),
    "reading": Section(
        title="Reading against the bare decoder",
        text=(
            "600 frames of 512 x 512, 20 s at 30 frames/s. The bare decoder gives stored values (of video the luma) in "
            "a list; `read_clip` gives the same in one array, with how it is shown, times and warnings, by way of the "
            "decoding process. The best of three turns. Of short clips the fixed cost, about 10 ms a file, is a larger "
            "share."
        ),
        measure=measure_reading,
    ),
    "kills": Section(
        title="Killed with signal 9 at random moments, and given the same command again",
        text=(
            "Equal: the store has the bits, the training every step's loss and the final weights, of a run left in "
            "peace. Runs that were done before they could be killed are compared, too. float16 and int8 in turn; "
            "phases 1 and 2 in turn, with no and with two loader workers."
        ),
        measure=_kills,
    ),
    "training-step": Section(
        title="Engine options of phase 1's step",
        text=(
            "EfficientViT-B0, 512 x 512, batch 4, features of full-size teachers given. Each option against the "
            "default of its own round; above 1 is faster. What does not help is off by default."
        ),
        measure=_training_step,
    ),
    "neighbor": Section(
        title="A busy neighbor",
        text=(
            "Frames per second alone and beside one process that computes without end: phase 1's step "
            "(EfficientViT-B0, 256 x 256, batch 8, features of full-size teachers given), and the shipped model on "
            "single frames of 512 x 512. libgomp's own: threads that wait for one another spin for 10 ms. Set before "
            "PyTorch: briefly, as in every script and in the environment that `make` makes. Set after: as in "
            "`python -m monai.bundle` elsewhere. Medians of 5 rounds in which the ways take turns, and of their ratios."
        ),
        measure=measure_neighbor,
    ),
    "end-to-end": Section(
        title="End to end: the real-time command itself",
        text=(
            "`vfss segment CINE --config realtime.json`, the shipped model, DICOM cines of 512 x 512 on the disk, "
            "results on the disk. Frames/s: 600 frames more over the time that they take more, so neither start nor "
            "end counts. Preset: NIfTI, areas, measures. Medians of 3 rounds in which the commands take turns, of "
            "their ratios, and of the time until the first frames are segmented."
        ),
        measure=measure_end_to_end,
    ),
    "deployment-stages": Section(
        title="Deployment: where the time of the real-time preset goes",
        text="Each stage alone, then all overlapped.",
        measure=measure_stages,
    ),
    "deployment": Section(
        title="Deployment: runtimes, precisions and other networks",
        text=(
            "512 x 512, all cores. Alone: batches of up to 8. In process: a short DICOM cine decoded, letterboxed, "
            "segmented, brought to its own size, NIfTI, areas and measures written, without the start of a command; "
            "how fast the command is: end to end. SAM 2.1 Hiera-T and the U-Nets have random weights. Dice: held-out "
            "synthetic patients."
        ),
        measure=measure_deployment,
    ),
    "streaming": Section(
        title="Ten minutes of film through inference",
        text=(
            "18,000 synthetic frames of 512 x 512 (60 different ones, repeated), the shipped model. Alone: each part "
            "by itself. Segment: decoding, inference and putting away, which overlap; then the outputs, which overlap, "
            "too. Memory is that of inference and its decoding process."
        ),
        measure=_streaming,
    ),
    "finished": Section(
        title="A second run over finished studies",
        text=(
            "From the folder to the table, for small studies that an earlier run has finished with the same settings: "
            "search, headers, hashes, records. Add what the command needs to start, and to read large files once."
        ),
        measure=measure_finished,
    ),
    "clicks": Section(
        title="Clicks",
        text=(
            "Held-out synthetic frames at 512 x 512, the shipped model: mean Dice over structures, of standard and of "
            "hard patients. By name: the automatic mask, changed where the prompt contradicts it; else SAM 2's "
            "prompted mask. A click falls into the middle of the largest wrong region; a box is the true mask's."
        ),
        measure=_clicks,
    ),
    "video": Section(
        title="Masks over time",
        text=(
            "Held-out synthetic swallows, 2 patients of each domain, 20 frames at 15 frames/s, structures that the "
            "first frame shows; Dice without that frame, late: its last quarter. Flicker: change between frames "
            "beyond the truth's ([definitions](concepts/video.md))."
        ),
        measure=_video,
    ),
}


def run_benchmarks(names: Sequence[str], json_path: Path = JSON_PATH, page_path: Path = PAGE_PATH) -> None:
    """Measure some sections again; the others, also those of earlier versions, keep their figures.

    Raises:
        ValueError: If a name is unknown.
    """
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise ValueError(f"benchmarks are {list(SECTIONS)}, got {unknown}")
    for name in names:
        section = measure_section(name, SECTIONS[name])
        record = load_record(json_path) | {name: section}
        order = dict.fromkeys([*SECTIONS, *record])
        write_record({key: record[key] for key in order if key in record}, json_path, page_path)
