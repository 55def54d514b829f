"""The wheel holds the configs and the weights too, in ``bundle/_data``; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA = ("configs/*.json", "configs/logging.conf", "models/*", "models/teachers/*")


class BuildWithData(build_py):
    """Copies what a clone has beside the package into it; an editable install finds it where it is."""

    def run(self) -> None:
        """Build anew, since setuptools keeps modules of an earlier build that are gone, then copy."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if self.editable_mode:
            return
        root = Path(__file__).resolve().parent
        for file in (file for pattern in DATA for file in root.glob(pattern) if file.is_file()):
            target = Path(self.build_lib, "bundle", "_data", file.relative_to(root))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


setup(cmdclass={"build_py": BuildWithData})
