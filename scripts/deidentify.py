"""Copy studies without identity, for sharing: python scripts/deidentify.py SOURCE OUTPUT [--blacken …]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.command.app import main

if __name__ == "__main__":
    main(["deidentify", *sys.argv[1:]])
