"""Copy studies without identity, for sharing: python scripts/deidentify.py SOURCE OUTPUT [--blacken …]"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.extras import MissingPackageError
from bundle.one_line import in_words

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="DICOM file, AVI, MP4, MOV, MKV, or a folder of them")
    parser.add_argument("output", help="folder of the copies, outside the source")
    parser.add_argument("--blacken", metavar="ROW0,COL0,ROW1,COL1", help="rectangle that becomes black in every frame")
    parser.add_argument("--key-file", help="keeps names and UIDs the same across runs; made if it is not there")
    arguments = parser.parse_args()
    try:
        from bundle.deidentify.blacken import Rectangle
        from bundle.deidentify.run import NOT_DONE_BY_THIS_TOOL, deidentify

        rectangle = Rectangle.parse(arguments.blacken) if arguments.blacken else None
        report = deidentify(arguments.source, arguments.output, rectangle, arguments.key_file)
    except (ValueError, OSError, MissingPackageError) as error:
        sys.exit(f"error: {in_words(error)}")
    print(report.table(), NOT_DONE_BY_THIS_TOOL, sep="\n\n")
    sys.exit(report.exit_status)
