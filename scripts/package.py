"""Write the bundle as one zip with checksums, as sites download it: run it with `make package`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.export.package import package_bundle
from bundle.one_line import in_words

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", default=ROOT / "dist", help="folder of the zip")
    try:
        path = package_bundle(ROOT, parser.parse_args().output_dir)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)", path.with_name(f"{path.name}.sha256").read_text(), sep="\n")
