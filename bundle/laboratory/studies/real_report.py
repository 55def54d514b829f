"""The study on real films from its folders to its page."""

import signal
from pathlib import Path

from bundle.atomic import write_json
from bundle.laboratory.studies.index import write_index
from bundle.laboratory.studies.real import PROBED, RECORDS, RealStudyRunner, read_real_study
from bundle.laboratory.studies.real_films import RealFilms
from bundle.laboratory.studies.real_page import write_real_page
from bundle.laboratory.studies.record import read_records
from bundle.text import read_json


def run_real_study(
    jsrt: Path,
    chest_xrays: Path,
    folder: Path,
    output_dir: Path | None = None,
    jobs: int = 1,
    minutes: float | None = None,
) -> Path:
    """Run what is missing, and write the page of what there is.

    Ctrl-C and SIGTERM stop as the end of the time does: running trainings save a checkpoint first.

    Raises:
        RuntimeError: If stages failed: which, and why.
    """
    output_dir = output_dir or folder
    study, films = read_real_study(), RealFilms(jsrt, chest_xrays, folder / "lists")
    runner = RealStudyRunner(study, films, folder, output_dir / RECORDS, jobs)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: runner.stop())
    failed = runner.run(minutes)
    page = write_real_page(study, runner.current(), runner.probe.results, output_dir)
    write_index(output_dir)
    write_json(folder / "models.json", runner.models())
    if failed:
        raise RuntimeError("\n".join(f"{name}: {why}" for name, why in failed.items()))
    return page


def write_page_again(folder: Path, output_dir: Path | None = None) -> Path:
    """Write the page from records alone; neither films nor stages are needed.

    Raises:
        FileNotFoundError: If there are no records.
    """
    path, target = folder / RECORDS, output_dir or folder
    if not path.is_file():
        raise FileNotFoundError(f"no {RECORDS} in {folder}: name the folder of the records with --folder")
    probed = read_json(folder / PROBED) if (folder / PROBED).is_file() else {}
    page = write_real_page(read_real_study(), read_records(path).values(), probed, target)
    write_index(target)
    return page
