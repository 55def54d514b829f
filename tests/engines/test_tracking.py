"""A run keeps its name and its MLflow file through kills."""

import sqlite3

from mlflow import MlflowClient

from bundle.engines.tracking import prepare_tracking, run_name


def test_a_resumed_run_keeps_its_name_and_a_new_one_gets_its_own(tmp_path):
    (tmp_path / "run_name.txt").write_text("monday\n")
    assert run_name(tmp_path, resume=True) == "monday"
    started_over = run_name(tmp_path, resume=False)
    assert started_over != "monday"
    assert run_name(tmp_path, resume=True) == started_over
    assert run_name(tmp_path / "new", resume=True) != "monday"


def test_mlflows_file_is_there_with_all_its_tables_or_not_at_all(tmp_path, monkeypatch):
    seen = []
    search = MlflowClient.search_experiments

    def look(client, *args, **kwargs):
        seen.append((tmp_path / "mlruns.db").exists())
        return search(client, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "search_experiments", look)
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    assert prepare_tracking(uri) == uri
    assert seen == [False]
    with sqlite3.connect(tmp_path / "mlruns.db") as database:
        assert database.execute("select name from experiments").fetchall() == [("Default",)]
    assert prepare_tracking(uri) == uri
    assert seen == [False]  # what is there is left alone
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns.db"]


def test_a_servers_address_is_left_to_mlflow():
    assert prepare_tracking("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
