"""Where the bundle is."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The bundle's root: the folder that holds ``bundle``, ``configs`` and ``models``."""


def results_root(root: str | Path = ROOT) -> Path:
    """Where a site's results go by default: to ``runs`` in a clone, of a packed bundle to ``runs`` beside its folder.

    A packed bundle has a manifest. The next version, unzipped in its place, then finds what the last one has written.
    """
    root = Path(root).resolve()
    return (root.parent if (root / "manifest.json").is_file() else root) / "runs"
