"""The study on real films from its folders to its page."""

import signal
from pathlib import Path

from bundle.atomic import write_json
from bundle.laboratory.studies.index import write_index
from bundle.laboratory.studies.real import RealStudyRunner, read_real_study
from bundle.laboratory.studies.real_films import RealFilms
from bundle.laboratory.studies.real_page import write_real_page


def run_real_study(
    jsrt: Path,
    chest_xrays: Path,
    folder: Path,
    output_dir: Path | None = None,
    jobs: int = 1,
    minutes: float | None = None,
    page_only: bool = False,
) -> Path:
    """Run what is missing, and write the page of what there is.

    Ctrl-C and SIGTERM stop as the end of the time does: running trainings save a checkpoint first.

    Args:
        jsrt: Folder of JSRT.
        chest_xrays: Folder of the two hospitals' films.
        folder: For lists, stages and the store.
        output_dir: For records and page; the folder unless given.
        jobs: Stages at the same time.
        minutes: Time limit.
        page_only: Whether nothing is run.

    Returns:
        Path of the page.

    Raises:
        RuntimeError: If stages failed: which, and why.
    """
    output_dir = output_dir or folder
    study, films = read_real_study(), RealFilms(jsrt, chest_xrays, folder / "lists")
    runner = RealStudyRunner(study, films, folder, output_dir / "real_results.json", jobs)
    failed: dict[str, str] = {}
    if not page_only:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: runner.stop())
        failed = runner.run(minutes)
    page = write_real_page(study, runner.records, runner.probe.results, output_dir, runner.keys())
    write_index(output_dir)
    write_json(folder / "models.json", runner.models())
    if failed:
        raise RuntimeError("\n".join(f"{name}: {why}" for name, why in failed.items()))
    return page
