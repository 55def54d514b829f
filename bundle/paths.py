"""Where configs and weights are: beside the package in a clone and in a site's folder, inside it in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = PACKAGE / "_data"

ROOT = _IN_WHEEL if _IN_WHEEL.is_dir() else PACKAGE.parent
"""The bundle's root: the folder that holds ``configs`` and ``models``."""


def results_root(root: str | Path = ROOT) -> Path:
    """Where results go by default: ``runs`` in a clone, beside a packed bundle's folder, in the current one of a wheel.

    A packed bundle has a manifest. The next version, unzipped in its place, then finds what the last one has written.
    """
    root = Path(root).resolve()
    if root == _IN_WHEEL:
        return Path.cwd() / "runs"
    return (root.parent if (root / "manifest.json").is_file() else root) / "runs"
