"""A run in MLflow that never stops the work it tells of."""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bundle.engines.tracking import (
    FAILURES,
    RunAddress,
    experiment_id,
    prepare_tracking,
    reason,
    refusing,
    without_password,
)
from bundle.extras import needs_extra

with needs_extra("train", "training"):
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag

BATCH = 1000
"""Values that MLflow takes at once."""
LONGEST_QUEUE = 200_000
RETRY_SECONDS = 30.0


class TrackedRun:
    """A run in MLflow. If MLflow goes away, values wait until it is back; the work goes on, whatever happens.

    Args:
        address: Where to log; without a ``run_id`` a new run begins.
        name: Of the run; None: the time, if it is new.

    Raises:
        ValueError: If MLflow cannot be used there now, with the remedy.
    """

    def __init__(self, address: RunAddress, name: str | None = None) -> None:
        uri = prepare_tracking(address.tracking_uri, address.experiment_name)
        self.client = MlflowClient(uri)
        with refusing(uri):
            self.run = self._begin(address, uri, name)
        self.address = RunAddress(uri, address.experiment_name, self.run.info.run_id)
        self._waiting: deque[Metric] = deque(maxlen=LONGEST_QUEUE)
        self._failed: str | None = None
        self._retry_at = 0.0
        self._lost: list[str] = []

    def _begin(self, address: RunAddress, uri: str, name: str | None) -> Run:
        if address.run_id is None:
            number = experiment_id(self.client, uri, address.experiment_name)
            return self.client.create_run(number, run_name=name or time.strftime("%Y%m%d_%H%M%S"))
        if name:
            self.client.update_run(address.run_id, name=name)
        return self.client.get_run(address.run_id)

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log values of one step, in one request with what still waits."""
        now = int(time.time() * 1000)
        self._waiting.extend(Metric(_metric_name(name), float(value), now, step) for name, value in values.items())
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            if not self._try(self.client.log_batch, self.run.info.run_id, batch):
                return
            for _ in batch:
                self._waiting.popleft()

    def log_facts(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Log parameters that the run does not have yet, since MLflow keeps the first value, and tags."""
        new = {name: str(value) for name, value in parameters.items() if name not in self.run.data.params}
        entries = [Param(name, value) for name, value in new.items()]
        labels = [RunTag(name, value) for name, value in tags.items()]
        self._do("parameters", self.client.log_batch, self.run.info.run_id, (), entries, labels)

    def log_inputs(self, datasets: Sequence[DatasetInput]) -> None:
        """Log what the run has read, as ``mlflow.entities.DatasetInput``."""
        self._do("data sets", self.client.log_inputs, self.run.info.run_id, list(datasets))

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Copy a file into the run's artifacts, if it is there."""
        if path.is_file():
            self._do(path.name, self.client.log_artifact, self.run.info.run_id, str(path), folder)

    def go_on(self) -> None:
        """Say that it runs, also if it had ended before."""
        self._do("its status", self.client.update_run, self.run.info.run_id, "RUNNING")

    def catch_up(self) -> None:
        """Send what waits, however recently MLflow failed."""
        self._retry_at = 0.0
        self.log_metrics({}, 0)

    def close(self, status: str | None = None) -> None:
        """Say how it ended, FINISHED or KILLED, if a status is given, and tell the person what is not in MLflow."""
        if status is not None:
            self._do("its status", self.client.set_terminated, self.run.info.run_id, status)
        lost = ([f"the last {len(self._waiting)} values"] if self._waiting else []) + self._lost
        if lost:
            tqdm.write(f"note: not in MLflow at {without_password(self.address.tracking_uri)}: {', '.join(lost)}")

    def _do(self, what: str, call: Callable[..., Any], *arguments: Any) -> None:
        if not self._try(call, *arguments):
            self._lost.append(what)

    def _try(self, call: Callable[..., Any], *arguments: Any) -> bool:
        """Whether MLflow took it; after a failure it is left alone for a while."""
        if time.monotonic() < self._retry_at:
            return False
        try:
            call(*arguments)
        except FAILURES as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._warn_once(reason(error))
            return False
        self._failed = None
        return True

    def _warn_once(self, why: str) -> None:
        if self._failed is None:
            place = without_password(self.address.tracking_uri)
            tqdm.write(f"note: MLflow at {place} takes nothing ({why}): the run goes on, its log waits")
        self._failed = why


def _metric_name(name: str) -> str:
    """A name that MLflow takes: a structure may have any."""
    return re.sub(r"[^\w/. :-]", "_", name)
