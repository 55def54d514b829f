"""Is this bundle what was published? python scripts/verify_bundle.py [FOLDER]; needs Python alone, no packages."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.export.manifest import USER_FOLDERS, BundleError, manifest_digest, verify_bundle

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=Path(__file__).resolve().parents[1], help="by default its own")
    parser.add_argument("--manifest-sha256", help="the manifest's checksum, from where the bundle was published")
    arguments = parser.parse_args()
    try:
        manifest = verify_bundle(arguments.folder, arguments.manifest_sha256)
    except (BundleError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{manifest.name} {manifest.version}: {len(manifest.files)} files, all as listed in the manifest")
    print(f"manifest's SHA-256: {manifest_digest(arguments.folder)}")
    print(f"not looked at: {', '.join(f'{name}/' for name in USER_FOLDERS)}")
