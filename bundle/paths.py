"""Where the bundle is."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The bundle's root: the folder that holds ``bundle``, ``configs`` and ``models``."""
