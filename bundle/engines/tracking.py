"""Names and files of runs in MLflow, so that a run that is killed at any moment goes on as the same one."""

import datetime
from pathlib import Path

from bundle.atomic import atomic_path, write_text
from bundle.extras import needs_extra

with needs_extra("train", "training"):
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


def run_name(output_dir: str | Path, resume: bool) -> str:
    """The time at which a run began, kept in ``output_dir``.

    Args:
        output_dir: Folder of the run.
        resume: Whether to go on with the run that is there.
    """
    file = Path(output_dir) / "run_name.txt"
    if resume and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    name = datetime.datetime.now().strftime("%Y%m%d_%H%M%S")
    write_text(file, name + "\n")
    return name


def prepare_tracking(uri: str) -> str:
    """Have MLflow make the tables of a new SQLite file under another name first.

    That takes seconds, and MLflow does not open a file again in which it was interrupted.

    Args:
        uri: Where MLflow is to log; anything but a SQLite file that is not there is left to MLflow.

    Returns:
        The same.
    """
    path = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not path.exists():
        with atomic_path(path) as temporary:
            MlflowClient(f"{SQLITE}{temporary.resolve()}").search_experiments()
    return uri
