"""Put a newer version in a bundle's place: python scripts/upgrade_bundle.py ARCHIVE [FOLDER]; needs Python alone."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.export.upgrade import REQUIREMENTS, upgrade_bundle
from bundle.one_line import in_words

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", help="zip file, or its address")
    parser.add_argument("folder", nargs="?", default=Path(__file__).resolve().parents[1], help="by default its own")
    parser.add_argument("--sha256", help="the archive's checksum, as published")
    parser.add_argument("--allow-downgrade", action="store_true", help="also put in an older version")
    parser.add_argument("--discard-changes", action="store_true", help="also replace a bundle that was changed")
    arguments = vars(parser.parse_args())
    try:
        done = upgrade_bundle(arguments.pop("archive"), **arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_words(error)}")
    if done is None:
        print("this version is there already")
        sys.exit()
    print(f"{done.old_version} -> {done.new_version}; kept: {', '.join(done.kept) or 'nothing'}; before: {done.backup}")
    if done.are_requirements_new:
        print(f"the new version needs other packages: install its {REQUIREMENTS}")
