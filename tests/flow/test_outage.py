"""An MLflow server that goes away in the middle of a run costs the log, not the run."""

import os
import signal

import pytest
from mlflow import MlflowClient

from bundle.engines import tracked_run
from bundle.engines.tracked_run import TrackedRun
from bundle.engines.tracking import RunAddress

pytestmark = pytest.mark.slow


@pytest.fixture
def run(mlflow_process, monkeypatch):
    run = TrackedRun(RunAddress(mlflow_process.address, "outage"), "one")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr(tracked_run, "RETRY_SECONDS", 0.0)
    return run


def test_what_a_hanging_server_did_not_take_is_sent_when_it_answers_again(run, mlflow_process, capsys, monkeypatch):
    run.log_metrics({"loss": 1.0}, 1)
    os.killpg(mlflow_process.pid, signal.SIGSTOP)
    for step in (2, 3):
        run.log_metrics({"loss": 1.0 / step}, step)
    os.killpg(mlflow_process.pid, signal.SIGCONT)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    run.log_metrics({"loss": 0.25}, 4)
    run.close("FINISHED")
    history = MlflowClient(mlflow_process.address).get_metric_history(run.address.run_id, "loss")
    assert sorted({entry.step for entry in history}) == [1, 2, 3, 4]
    text = "".join(capsys.readouterr())
    assert text.count("takes nothing") == 1
    assert "not in MLflow" not in text


def test_a_server_that_stays_away_costs_the_log_alone(run, mlflow_process, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tracked_run, "RETRY_SECONDS", 30.0)
    os.killpg(mlflow_process.pid, signal.SIGKILL)
    for step in (1, 2, 3):
        run.log_metrics({"loss": 1.0}, step)
    (tmp_path / "model.pt").write_text("weights")
    run.catch_up()
    run.log_file(tmp_path / "model.pt", "model")
    run.close("FINISHED")
    text = "".join(capsys.readouterr())
    assert text.count("takes nothing") == 1
    assert f"note: not in MLflow at {mlflow_process.address}: the last 3 values, model.pt, its status" in text
