"""The main job on synthetic data, offline: run it with `make demo`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.command.app import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
