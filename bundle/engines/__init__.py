"""What MONAI's trainers call: batches, handlers, checkpoints, checks before a run."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would report its use to its makers
# A server that is away is noticed in seconds, not after four minutes; what could not be logged is tried again later.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
