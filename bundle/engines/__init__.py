"""What MONAI's trainers call: batches, handlers, checkpoints, checks before a run."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would report its use to its makers
