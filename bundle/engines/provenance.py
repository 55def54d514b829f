"""Which code and which data a run is of, as MLflow shows it: no name of a patient, no path."""

import json
import subprocess
from pathlib import Path

from bundle.data.datalist import read_datalist
from bundle.extras import needs_extra
from bundle.weights import file_sha256

with needs_extra("train", "training"):
    from mlflow.entities import Dataset, DatasetInput, InputTag

from bundle.paths import ROOT

NAME = "vfss-agglomerative-distillation"
LONGEST_DIGEST = 36
"""Of MLflow."""


def describe_code(root: Path = ROOT) -> dict[str, str]:
    """MLflow's tags of the code: the bundle's version and, of a clone, the commit, "-dirty" if files were changed.

    Args:
        root: The bundle's root.
    """
    version = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    tags = {"bundle_version": version, "mlflow.source.name": f"{NAME} {version}", "mlflow.source.type": "LOCAL"}
    commit = git_commit(root)
    return tags if commit is None else {**tags, "mlflow.source.git.commit": commit}


def git_commit(root: Path) -> str | None:
    """The commit of a clone; None for a copy without history, or without git."""
    if not (root / ".git").exists():  # git itself would go up to whatever folder this one lies in
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def describe_data(datalist: str | Path, *sections: str) -> list[DatasetInput]:
    """Sections of a data list as MLflow's inputs of a run: how many clips of how many patients, and its checksum.

    Args:
        datalist: The data list.
        sections: Those that the run reads; what is not in it is left out.
    """
    path = Path(datalist)
    content, digest = read_datalist(path), file_sha256(path)[:LONGEST_DIGEST]
    return [_input(path.name, digest, section, content[section]) for section in sections if content.get(section)]


def _input(name: str, digest: str, section: str, items: list[dict[str, object]]) -> DatasetInput:
    profile = {"clips": len(items), "patients": len({item["patient"] for item in items})}
    source = json.dumps({"uri": name})
    dataset = Dataset(f"{name}: {section}", digest, "local", source, profile=json.dumps(profile))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", section)])
