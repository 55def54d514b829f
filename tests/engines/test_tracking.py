"""MLflow's addresses work for every path, and are refused in one line, within seconds, before the work starts."""

import socket
import sqlite3
import time

import pytest
import sqlalchemy
from mlflow import MlflowClient

from bundle.engines.tracking import RunAddress, prepare_tracking, sqlite_uri, training_run

NAMES = ["a%20b", "100%", "what?", "a b", "#1", "Müller", "[x], 'y'", "a&b=c", "%3F", "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_the_address_of_a_file_leads_to_the_file(tmp_path, name):
    uri = sqlite_uri(tmp_path / name / "mlruns.db")
    assert sqlalchemy.make_url(uri).database == str(tmp_path / name / "mlruns.db")
    assert not sqlalchemy.make_url(uri).query
    plain = uri.removeprefix("sqlite:///")
    assert plain == uri or plain == str(tmp_path / name / "mlruns.db")  # MLflow makes folders of this text as it stands


def test_mlflows_file_is_there_with_all_its_tables_or_not_at_all(tmp_path, monkeypatch):
    seen = []
    search = MlflowClient.search_experiments

    def look(client, *args, **kwargs):
        seen.append((tmp_path / "50% ?" / "mlruns.db").exists())
        return search(client, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "search_experiments", look)
    uri = sqlite_uri(tmp_path / "50% ?" / "mlruns.db")
    assert prepare_tracking(uri, "train") == uri
    assert seen == [False]
    with sqlite3.connect(tmp_path / "50% ?" / "mlruns.db") as database:
        names = database.execute("select name, artifact_location from experiments order by name").fetchall()
    assert [name for name, _ in names] == ["Default", "train"]
    assert names[1][1] == (tmp_path / "50% ?" / "mlruns").as_uri()
    assert prepare_tracking(uri, "train") == uri
    assert seen == [False]  # what is there is left alone
    assert [path.name for path in tmp_path.rglob("*")] == ["50% ?", "mlruns.db"]


@pytest.fixture
def silent_server():
    """A machine that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_server_that_is_away_is_named_within_seconds_with_the_remedy(closed_port):
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"{closed_port} .*Connection refused.*start its server.*--tracking_uri"):
        prepare_tracking(closed_port, "train")
    assert time.monotonic() - start < 10


def test_a_server_that_does_not_answer_is_refused_too(silent_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"timed out.*start its server"):
        prepare_tracking(silent_server, "train")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "uri", ["mlruns", "localhost:5000", "file:///runs/mlruns", "ftp://host/mlruns", "postgresql://127.0.0.1:1/mlflow"]
)
def test_what_is_no_address_of_mlflow_is_refused_with_examples(uri):
    with pytest.raises(ValueError, match=r"MLflow cannot be used at .*http://host:port, or sqlite:///") as caught:
        prepare_tracking(uri, "train")
    assert uri in str(caught.value)


def test_a_file_that_is_no_data_base_is_refused_at_once(tmp_path):
    (tmp_path / "mlruns.db").write_text("these are notes, and no data base at all" * 40)
    with pytest.raises(ValueError, match=r"mlruns\.db .*not a database"):
        prepare_tracking(sqlite_uri(tmp_path / "mlruns.db"), "train")


def test_a_password_is_in_no_message(closed_port):
    with pytest.raises(ValueError, match="cannot be used") as caught:
        prepare_tracking(closed_port.replace("//", "//me:secret@"), "train")
    assert "secret" not in str(caught.value)


def test_the_environments_address_goes_before_the_configs(closed_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_port)
    with pytest.raises(ValueError, match=closed_port):
        prepare_tracking("sqlite:///nowhere.db", "train")


def test_a_training_leaves_its_address_which_moves_with_its_folder(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, uri in ((before, sqlite_uri(before / "mlruns.db")), (tmp_path / "other", "http://127.0.0.1:5000")):
        RunAddress(uri, "train", "abc").write(folder)
        assert RunAddress.read(folder) == RunAddress(uri, "train", "abc")
    before.rename(after)
    (after / "mlruns.db").touch()
    assert training_run(after / "model.pt", tmp_path).tracking_uri == sqlite_uri(after / "mlruns.db")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_weights_without_an_address_get_a_run_of_their_own(tmp_path, content):
    if content is not None:
        (tmp_path / "mlflow.json").write_text(content)
    own = RunAddress(sqlite_uri(tmp_path / "evaluate" / "mlruns.db"), "evaluate")
    assert training_run(tmp_path / "model.pt", tmp_path / "evaluate") == own
