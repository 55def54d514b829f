"""How busy the machine is, as MLflow measures it."""

import logging
import time

from bundle.engines.tracking import RunAddress
from bundle.extras import needs_extra

with needs_extra("train", "training"):
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

SECONDS = 10.0
"""Between two looks."""

logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # a line of its own where there is no GPU


class MachineLoad:
    """MLflow's system metrics without its thread, which logs on an axis of its own and ends at the first outage.

    Args:
        address: Of the run.
    """

    def __init__(self, address: RunAddress) -> None:
        self._monitor = SystemMetricsMonitor(address.run_id, tracking_uri=address.tracking_uri)
        self._next = 0.0

    def values(self) -> dict[str, float]:
        """Processor, memory, disk, network and GPU, by MLflow's names; empty soon after the last time."""
        if time.monotonic() < self._next:
            return {}
        self._next = time.monotonic() + SECONDS
        self._monitor.collect_metrics()
        values = self._monitor.aggregate_metrics()
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        return {f"system/{name}": value for name, value in values.items()}
