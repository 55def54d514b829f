"""Where runs are in MLflow: addresses, checked before the work starts, and what a training leaves of its own."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundle.atomic import atomic_path, write_json
from bundle.extras import needs_extra

with needs_extra("train", "training"):
    import sqlalchemy
    from mlflow import MlflowClient
    from mlflow.entities import LifecycleStage
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

ADDRESS_FILE = "mlflow.json"
"""In a training's folder, beside its weights."""
FAILURES = (MlflowException, SQLAlchemyError, OSError)
"""What MLflow raises when a server, a data base or a folder of artifacts is away."""
LONGEST_REASON = 160


def sqlite_uri(path: str | Path) -> str:
    """MLflow's address of a SQLite file, which need not be there, whatever characters its path has.

    MLflow makes folders of the text after ``sqlite:///`` as it stands, quoted or not, unless the driver is named.
    """
    plain = Path(path).absolute().as_posix()
    quoted = plain.replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{plain}" if quoted == plain else f"sqlite+pysqlite:///{quoted}"


def effective_uri(uri: str) -> str:
    """The address that counts: the environment variable ``MLFLOW_TRACKING_URI`` goes before it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or str(uri)


def prepare_tracking(uri: str, experiment_name: str) -> str:
    """Refuse, before the work starts, an MLflow that cannot be written to; make the experiment and the tables it lacks.

    Returns:
        The address that counts, from :func:`effective_uri`.

    Raises:
        ValueError: Naming the address, what is wrong and the remedy.
    """
    uri = effective_uri(uri)
    with refusing(uri):
        if "://" not in uri or uri.startswith("file:"):
            raise MlflowException("no address of a server or of a data base")
        if uri.startswith("sqlite"):
            _make_tables(uri)
        elif not uri.startswith(("http://", "https://", "databricks")):
            sqlalchemy.inspect(sqlalchemy.create_engine(uri))  # MLflow itself would try for minutes
        experiment_id(MlflowClient(uri), uri, str(experiment_name))
    return uri


@contextmanager
def refusing(uri: str) -> Iterator[None]:
    """Turn a failure of MLflow inside the block into a ``ValueError`` of one line, with the remedy."""
    try:
        yield
    except (*FAILURES, ImportError) as error:
        raise ValueError(
            f"MLflow cannot be used at {without_password(uri)} ({reason(error)}): start its server, correct "
            "--tracking_uri (http://host:port, or sqlite:///path/to/mlruns.db), or leave it out to log to a file in "
            "the run's own folder"
        ) from error


def _make_tables(uri: str) -> None:
    """Have MLflow make the tables of a new SQLite file under another name first.

    That takes seconds, and MLflow does not open a file again in which it was interrupted.
    """
    path = _sqlite_file(uri)
    if path is not None and not path.exists():
        with atomic_path(path) as temporary:
            MlflowClient(sqlite_uri(temporary)).search_experiments(max_results=1)
    sqlalchemy.inspect(sqlalchemy.create_engine(uri)).get_table_names()  # no SQLite file: at once, not after minutes


def _sqlite_file(uri: str) -> Path | None:
    database = sqlalchemy.make_url(uri).database if uri.startswith("sqlite") else None
    return Path(database) if database and database != ":memory:" else None


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """The experiment of a name, made if it is not there; artifacts of a SQLite file lie beside it."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        file = _sqlite_file(uri)
        return client.create_experiment(name, None if file is None else (file.absolute().parent / "mlruns").as_uri())
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise MlflowException(f"experiment {name!r} was deleted there: restore it, or choose another --experiment_name")
    return experiment.experiment_id


@dataclass(frozen=True)
class RunAddress:
    """Where a run is in MLflow; ``run_id`` is None before it began."""

    tracking_uri: str
    experiment_name: str
    run_id: str | None = None

    @classmethod
    def read(cls, folder: str | Path) -> "RunAddress | None":
        """What a training has left in its folder, also if the folder was moved since; None: nothing."""
        try:
            known = json.loads((Path(folder) / ADDRESS_FILE).read_text(encoding="utf-8"))
            uri = known["tracking_uri"] or sqlite_uri(Path(folder) / "mlruns.db")
            return cls(uri, known["experiment_name"], known["run_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: str | Path) -> None:
        """Leave it in a training's folder; a file in the folder itself moves with it."""
        own = sqlite_uri(Path(folder) / "mlruns.db")
        uri = None if self.tracking_uri == own else self.tracking_uri
        known = {"tracking_uri": uri, "experiment_name": self.experiment_name, "run_id": self.run_id}
        write_json(Path(folder) / ADDRESS_FILE, known)

    def is_there(self) -> bool:
        """Whether the run can be logged to."""
        file = _sqlite_file(self.tracking_uri)
        if self.run_id is None or (file is not None and not file.exists()):
            return False
        try:
            return MlflowClient(self.tracking_uri).get_run(self.run_id).info.lifecycle_stage == LifecycleStage.ACTIVE
        except FAILURES:
            return False


def training_run(checkpoint: str | Path, output_dir: str | Path) -> RunAddress:
    """The run of the training that made some weights; a new one in ``output_dir`` if none is known beside them."""
    known = RunAddress.read(Path(checkpoint).parent)
    file = None if known is None else _sqlite_file(known.tracking_uri)
    if known is not None and (file is None or file.exists()):
        return known
    return RunAddress(sqlite_uri(Path(output_dir) / "mlruns.db"), "evaluate")


def without_password(uri: str) -> str:
    """An address as it may be shown."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def reason(error: BaseException) -> str:
    """The innermost cause, which libraries wrap in several layers, in a few words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."
