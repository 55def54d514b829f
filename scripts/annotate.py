"""Serve studies to annotators with MONAI Label: `make annotate STUDIES=folder` runs it in .venv-annotation."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.annotation.options import AppOptions
from bundle.extras import MissingPackageError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", help="folder of images, or address of a DICOMweb service (http://...)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--allow_network", action="store_true", help="other hosts than this machine may be listened to")
    parser.add_argument("--public_address", help="of a reverse proxy, such as https://labels.example.org")
    parser.add_argument("--modality", default="RF", help="of the series that are listed from a DICOMweb service")
    for field in fields(AppOptions):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    try:
        from bundle.annotation.server import serve

        app_options = AppOptions(**{field.name: options.pop(field.name) for field in fields(AppOptions)})
        serve(options.pop("studies"), app_options, **options)
    except (ValueError, OSError, MissingPackageError) as error:
        raise SystemExit(f"annotate: {error}") from None
